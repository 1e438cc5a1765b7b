"""Where studies come from: one file per source, each yielding `Study`."""
