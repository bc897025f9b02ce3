//! Lossless two-channel Ogg Opus recordings and the thread that writes them.
