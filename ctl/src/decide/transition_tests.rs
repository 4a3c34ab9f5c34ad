//! The transition table of SAFETY §1.1, row by row.
