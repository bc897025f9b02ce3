//! RTP and RTCP headers, SRTP and SRTCP in place without allocation.
