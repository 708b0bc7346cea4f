//! Seconds since 1970 as dates, and back (Linux: rtc_time64_to_tm, rtc_tm_to_time64, rtc_valid_tm). No leap seconds, no time zones.

use vigil_abi::rtc::RtcTime;

const DAY: i64 = 86_400;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH: i64 = 719_468;
/// Days of 400 years.
const ERA: i64 = 146_097;

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i32) -> i32 {
    match month {
        1 => 28 + i32::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// The date of `seconds` since 1970.
pub fn to_date(seconds: u64) -> RtcTime {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let (days, rest) = (seconds / DAY, (seconds % DAY) as i32);
    // Years that begin with March have their leap day at the end.
    let shifted = days + EPOCH;
    let (era, day) = (shifted / ERA, shifted % ERA);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day + 2) / 153;
    let mday = day - (153 * month + 2) / 5 + 1;
    let mon = if month < 10 { month + 2 } else { month - 10 };
    let year = year_of_era + era * 400 + i64::from(mon < 2);
    let mut date = RtcTime {
        tm_sec: rest % 60,
        tm_min: rest / 60 % 60,
        tm_hour: rest / 3600,
        tm_mday: mday as i32,
        tm_mon: mon as i32,
        tm_year: i32::try_from(year - 1900).unwrap_or(i32::MAX),
        tm_wday: ((days + 4) % 7) as i32,
        tm_yday: 0,
        tm_isdst: 0,
    };
    // From 1, as in Linux 6.1, not from 0, as the header says.
    date.tm_yday = mday as i32 + (0..date.tm_mon).map(|month| days_of_month(year, month)).sum::<i32>();
    date
}

/// Seconds since 1970 of a date; `None` for one that does not exist, or is before 1970 (Linux: EINVAL).
pub fn from_date(date: &RtcTime) -> Option<u64> {
    let year = i64::from(date.tm_year) + 1900;
    let exists = date.tm_year >= 70
        && date.tm_year <= i32::MAX - 1900
        && (0..12).contains(&date.tm_mon)
        && (1..=days_of_month(year, date.tm_mon)).contains(&date.tm_mday)
        && (0..24).contains(&date.tm_hour)
        && (0..60).contains(&date.tm_min)
        && (0..60).contains(&date.tm_sec);
    if !exists {
        return None;
    }
    let (year, month) = if date.tm_mon < 2 { (year - 1, date.tm_mon + 10) } else { (year, date.tm_mon - 2) };
    let day_of_year = (153 * i64::from(month) + 2) / 5 + i64::from(date.tm_mday) - 1;
    let year_of_era = year % 400;
    let days = year / 400 * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH;
    u64::try_from(days * DAY + i64::from(date.tm_hour) * 3600 + i64::from(date.tm_min) * 60 + i64::from(date.tm_sec)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_are_known() {
        let at = |t| {
            let d = to_date(t);
            [d.tm_year + 1900, d.tm_mon + 1, d.tm_mday, d.tm_hour, d.tm_min, d.tm_sec, d.tm_wday, d.tm_yday]
        };
        assert_eq!(at(0), [1970, 1, 1, 0, 0, 0, 4, 1]);
        assert_eq!(at(951_782_399), [2000, 2, 28, 23, 59, 59, 1, 59]);
        assert_eq!(at(951_782_400), [2000, 2, 29, 0, 0, 0, 2, 60]);
        assert_eq!(at(1_893_553_445), [2030, 1, 2, 3, 4, 5, 3, 2]);
        assert_eq!(at(u64::from(u32::MAX)), [2106, 2, 7, 6, 28, 15, 0, 38]);
        assert_eq!(at(4_102_444_799), [2099, 12, 31, 23, 59, 59, 4, 365]);
    }

    #[test]
    fn there_and_back_for_every_day_of_a_thousand_years() {
        for day in 0..365_243 {
            let t = day * 86_400 + day % 86_400;
            assert_eq!(from_date(&to_date(t)), Some(t));
        }
    }

    #[test]
    fn dates_that_do_not_exist() {
        let good = to_date(951_782_400);
        assert!(from_date(&good).is_some());
        for bad in [
            RtcTime { tm_year: 101, ..good },
            RtcTime { tm_year: 69, ..good },
            RtcTime { tm_year: i32::MAX, ..good },
            RtcTime { tm_mon: 12, ..good },
            RtcTime { tm_mon: -1, ..good },
            RtcTime { tm_mday: 0, ..good },
            RtcTime { tm_mday: 30, ..good },
            RtcTime { tm_hour: 24, ..good },
            RtcTime { tm_min: 60, ..good },
            RtcTime { tm_sec: -1, ..good },
        ] {
            assert_eq!(from_date(&bad), None, "{bad:?}");
        }
        assert!(from_date(&RtcTime { tm_year: i32::MAX - 1900, tm_mon: 2, ..good }).is_some());
    }
}
