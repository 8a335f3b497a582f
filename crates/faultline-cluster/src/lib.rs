//! Private Postgres clusters from the installed server programs, for development, tests and drills
