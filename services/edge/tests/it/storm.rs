//! Random peers on a bad network. Whatever they do, the books must balance.
