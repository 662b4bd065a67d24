/* This kernel is always configured without it. */
EXPORT_SYMBOL_GPL(far);
