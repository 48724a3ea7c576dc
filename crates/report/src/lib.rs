#![forbid(unsafe_code)]
//! How results are shown: terminal tables, progress and self-contained HTML pages.
//!
//! ```
//! use litesmith_report::{Look, Table, human};
//!
//! let mut table = Table::new(["layer", "bytes", "signal to noise"]);
//! table.row(["conv1".to_owned(), human::count(1_234_567), human::decibels(None)]);
//! assert_eq!(
//!     table.render(Look::Plain),
//!     "layer      bytes  signal to noise\n\
//!      -----  ---------  ---------------\n\
//!      conv1  1,234,567            exact\n"
//! );
//! ```

pub mod html;
pub mod human;
mod progress;
mod table;
mod terminal;

pub use progress::Progress;
pub use table::Table;
pub use terminal::Look;
