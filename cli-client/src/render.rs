//! What people read: entries as lines, and lists as tables. Pure: everything shown is given.

mod entry;
mod table;

pub(crate) use entry::{Style, day_line, entry_lines};
pub(crate) use table::Table;
