# Report each symbol that a module needs and no module defines, as scripts/mod/modpost does.
[ $# -gt 0 ] || exit 0
defined=$(nm --defined-only --extern-only "$@" | sed -n 's/.* //p')
status=0
for object; do
	for symbol in $(nm --undefined-only "$object" | sed 's/.* //'); do
		case " $(echo $defined) " in *" $symbol "*) continue ;; esac
		echo "ERROR: modpost: \"$symbol\" [${object%.o}.ko] undefined!"
		status=1
	done
done
exit $status
