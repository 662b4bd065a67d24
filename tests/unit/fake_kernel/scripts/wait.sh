# wait.sh OBJ: with CONFIG_SLOW=y the first build of this directory waits here.
grep -q CONFIG_SLOW=y "$1/.config" || exit 0
test -e "$1/waited" && exit 0
echo $$ > "$1/waited"
echo "  CC      mm/slow.o"
exec sleep 600
