// SPDX-License-Identifier: GPL-2.0
/* The report on a script that is not valid. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "probe.h"

void usage(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_drop();
	json_begin(NULL);
	json_int("step", script.next);
	json_str("error", "usage");
	json_str("text", text);
	if (script.in_child)
		json_bool("child", true);
	json_end();
	exit(2);
}
