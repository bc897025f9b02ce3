//! The media plane of a bridge, without I/O.
