//! libsrtp as a shared object of any version 2, loaded at run time: nothing of it is needed to build.

#![expect(unsafe_code, reason = "a foreign library")]

use std::ffi::{c_int, c_void};
use std::ptr;

use libloading::Library as Object;
use setu_srtp::Suite;

/// `srtp_crypto_policy_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CryptoPolicy([u32; 6]);

/// `srtp_policy_t`: what is not named is zero, which stands for the defaults.
#[repr(C)]
struct Policy {
    ssrc_type: u32,
    ssrc: u32,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *const u8,
    rest: [usize; 16],
}

type Session = *mut c_void;
type Init = unsafe extern "C" fn() -> c_int;
type Preset = unsafe extern "C" fn(*mut CryptoPolicy);
type Create = unsafe extern "C" fn(*mut Session, *const Policy) -> c_int;
type Work = unsafe extern "C" fn(Session, *mut u8, *mut c_int) -> c_int;

/// The loaded library.
pub(crate) struct Library(Object);

/// Which way a session's packets go.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    In,
    Out,
}

/// A session, which lives as long as the process: a benchmark makes few.
pub(crate) struct Keyed {
    session: Session,
    work: Work,
}

impl Library {
    /// Loads what `SETU_LIBSRTP` names.
    pub(crate) fn from_environment() -> Option<Self> {
        let path = std::env::var_os("SETU_LIBSRTP")?;
        // SAFETY: the operator names libsrtp, whose initialisers are sound.
        let object = unsafe { Object::new(&path) };
        let object = object.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // SAFETY: the type is that of srtp.h; it is called once, before any other function.
        let status = unsafe { object.get::<Init>(b"srtp_init").expect("libsrtp 2")() };
        assert_eq!(status, 0, "srtp_init");
        Some(Self(object))
    }

    pub(crate) fn session(&self, suite: Suite, key: &[u8], salt: &[u8], way: Way) -> Keyed {
        let preset: &[u8] = match suite {
            Suite::AesCm128HmacSha1_80 => b"srtp_crypto_policy_set_rtp_default",
            Suite::AesCm128HmacSha1_32 => b"srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32",
            Suite::AeadAes128Gcm => b"srtp_crypto_policy_set_aes_gcm_128_16_auth",
            Suite::AeadAes256Gcm => b"srtp_crypto_policy_set_aes_gcm_256_16_auth",
        };
        let keying = [key, salt].concat();
        let mut policy = Policy {
            ssrc_type: match way {
                Way::In => 2,
                Way::Out => 3,
            },
            ssrc: 0,
            rtp: CryptoPolicy::default(),
            rtcp: CryptoPolicy::default(),
            key: keying.as_ptr(),
            rest: [0; 16],
        };
        let mut session = ptr::null_mut();
        let work: &[u8] = match way {
            Way::In => b"srtp_unprotect",
            Way::Out => b"srtp_protect",
        };
        // SAFETY: the types are those of srtp.h; the policy and its key live until the session is made.
        unsafe {
            let preset = self.0.get::<Preset>(preset).expect("libsrtp 2");
            preset(&raw mut policy.rtp);
            preset(&raw mut policy.rtcp);
            let create = self.0.get::<Create>(b"srtp_create").expect("libsrtp 2");
            assert_eq!(create(&raw mut session, &raw const policy), 0, "srtp_create");
            Keyed { session, work: *self.0.get::<Work>(work).expect("libsrtp 2") }
        }
    }
}

impl Keyed {
    /// Seals a packet of `len` bytes with room for the tag behind it.
    pub(crate) fn protect(&mut self, packet: &mut [u8], len: usize) {
        assert!(packet.len() >= len + 16, "no room for the tag");
        self.run(packet, len);
    }

    /// Opens a whole packet.
    pub(crate) fn unprotect(&mut self, packet: &mut [u8]) {
        let len = packet.len();
        self.run(packet, len);
    }

    fn run(&mut self, packet: &mut [u8], len: usize) {
        let mut length = c_int::try_from(len).expect("a packet");
        // SAFETY: the session is live, and the buffer holds `length` bytes and what the library adds.
        let status = unsafe { (self.work)(self.session, packet.as_mut_ptr(), &raw mut length) };
        assert_eq!(status, 0, "libsrtp refuses a packet");
    }
}
