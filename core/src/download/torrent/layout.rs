//! Policy: which bytes of which files a piece is made of.
