//! Errors: not built.

use crate::page::Entry;

pub(crate) const ENTRY: Entry =
    Entry { title: "Errors", path: "/errors", built: false, routes: || super::not_built("/errors") };
