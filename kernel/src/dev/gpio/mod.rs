//! `/dev/gpiochipN`: pins for programs, by both versions of Linux's interface (drivers/gpio/gpiolib-cdev.c).
//!
//! | file | what |
//! |---|---|
//! | [`debugfs`] | who has which line, and its level |
//! | [`chip`] | the chip's file: what it is, what its lines are, requests of lines |
//! | [`flags`] | what a program's flags mean, and which are refused |
//! | [`request`] | the file of requested lines: their values |
//! | [`events`] | edges of requested lines, and their debouncing |
//!
//! A line's edges come with its lock held and interrupts masked; then come the request's lock on its events, and its wait queue.

mod chip;
mod debugfs;
mod events;
mod flags;
mod request;

pub(super) use chip::init;
