//! Black-box tests of a real node and the real programs: one behaviour per name.

mod harness;
