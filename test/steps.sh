# test/steps.sh: long runs that can be taken up again; sourced, in bash, by test/stages (nightly) and test/release.
#
#   steps_begin FOLDER COMMIT   FOLDER keeps, for each step, the commit it passed on; COMMIT empty: nothing is taken as passed
#   step NAME CMD…              runs CMD unless NAME passed on this commit; one line with its time. Where CMD leaves FOLDER/NAME.left, it is
#                               not done yet and runs again
#   steps_end                   "N passed, N failed, N left", where left are those that steps_expect counted and nobody came to
#   steps_expect N              how many steps there will be
# EMK_UNTIL=SECONDS after which no further step begins.
steps_begin() {
	steps_folder=$1 steps_commit=$2
	steps_passed=0 steps_failed=0 steps_total=0 steps_from=$SECONDS
	mkdir -p "$steps_folder"
}

steps_expect() { steps_total=$1; }

step() {
	local name=$1 rc=0 begun=$SECONDS
	shift
	if [ -n "$steps_commit" ] && [ "$(cat "$steps_folder/$name" 2>/dev/null)" = "$steps_commit" ]; then
		printf 'passed  %-40s before, on this commit\n' "$name"
		steps_passed=$((steps_passed + 1))
		return 0
	fi
	if [ -n "${EMK_UNTIL-}" ] && [ $((SECONDS - steps_from)) -ge "$EMK_UNTIL" ]; then
		printf 'left    %-40s\n' "$name"
		return 0
	fi
	"$@" || rc=$?
	if [ $rc = 0 ]; then
		printf 'passed  %-40s %6d s\n' "$name" $((SECONDS - begun))
		if [ -e "$steps_folder/$name.left" ]; then rm -f "$steps_folder/$name"; else printf '%s\n' "$steps_commit" > "$steps_folder/$name"; fi
		steps_passed=$((steps_passed + 1))
	else
		printf 'FAILED  %-40s %6d s\n' "$name" $((SECONDS - begun))
		rm -f "$steps_folder/$name"
		steps_failed=$((steps_failed + 1))
	fi
	return 0
}

steps_end() {
	printf '\n%d passed, %d failed, %d left\n' "$steps_passed" "$steps_failed" $((steps_total - steps_passed - steps_failed))
	[ "$steps_failed" = 0 ] && [ $((steps_total - steps_passed)) -le 0 ]
}
