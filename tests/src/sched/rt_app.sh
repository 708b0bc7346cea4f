cd /tmp; printf %s "$0" > load.json
rt-app load.json >/dev/null 2>&1 || echo "status $?"
for f in log-*.log; do
	mawk -v f=$f '/^#/ { if (NR == 1) policy = $4; next } { n++; if ($8 < 0) late++ }
		END { sub("log-", "", f); sub("-.*", "", f); print f, policy, (n > 10 ? "runs," : n), late + 0, "late" }' $f
done
