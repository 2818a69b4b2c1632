"""Generated from schema/*.proto by `make schema`; never edited. The one place where the three services meet."""
