# SPDX-License-Identifier: GPL-2.0
# Compiles hook_log.c into a module that has hook_log.o among its objects.
ccflags-y += -I$(src)/../common

$(obj)/hook_log.o: $(src)/../common/hook_log.c FORCE
	$(call if_changed_rule,cc_o_c)
