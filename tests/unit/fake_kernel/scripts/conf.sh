# conf.sh ALLCONFIG KCONFIG...: print what survives of the request: symbols that are
# defined, below `if` blocks and with dependencies that are asked for as well.
awk '
FNR == NR && /^CONFIG_/ {
	name = $0
	sub(/^CONFIG_/, "", name)
	value[substr(name, 1, index(name, "=") - 1)] = substr(name, index(name, "=") + 1)
	next
}
FNR == NR { next }
$1 == "if" { depth++; around[depth] = $2 }
$1 == "endif" { depth-- }
$1 == "config" || $1 == "menuconfig" {
	name = $2
	if (name in value) {
		keep[name] = 1
		for (i = 1; i <= depth; i++)
			if (value[around[i]] != "y")
				delete keep[name]
	}
}
$1 == "depends" && value[$3] != "y" { delete keep[name] }
END {
	print "# Automatically generated file; DO NOT EDIT."
	for (name in value) {
		if (name in keep)
			print "CONFIG_" name "=" value[name]
		else
			print "# CONFIG_" name " is not set"
	}
}' "$@"
