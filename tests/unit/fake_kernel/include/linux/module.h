#define MODULE_LICENSE(text) struct modinfo
#define MODULE_DESCRIPTION(text) struct modinfo
#define EXPORT_SYMBOL_GPL(name) struct modinfo
