// SPDX-License-Identifier: GPL-2.0
/* The script and the place in it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "probe.h"

struct script script;

void read_script(void)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stdin) >= 0) {
		script.lines = realloc(script.lines, (script.count + 1) *
				       sizeof(*script.lines));
		if (!script.lines)
			abort();
		script.lines[script.count++] = line;
		line = NULL;
		room = 0;
	}
	free(line);
}
