use setu_model::{SeededEntropy, Wall};

use super::*;
use crate::message::{Message, Method};

const NOW: Wall = Wall::from_unix_ms(1_700_000_000_000);

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn alice() -> Credentials {
    Credentials { realm: None, username: "alice".to_owned(), password: secret("s3cret") }
}

fn challenge(text: &str) -> Challenge {
    text.parse().unwrap()
}

fn answer(challenges: &[Challenge], credentials: &Credentials) -> Result<Authorization, DigestError> {
    let entropy = &mut SeededEntropy::new(1);
    Client::new().answer_strongest(challenges, credentials, &Method::Invite, "sip:b@c", entropy)
}

fn verify(verifier: &mut Verifier, answer: &Authorization) -> Verdict {
    let password = |name: &str| (name == "alice").then(|| secret("s3cret"));
    verifier.verify(answer, "pbx", &Method::Invite, password, NOW)
}

/// RFC 7616 section 3.9.1 for both hashes; its MD5 inputs are those of RFC 2617 section 3.5 with another nonce.
#[test]
fn responses_are_those_of_rfc_7616() {
    for (algorithm, response) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let inputs = Inputs {
            algorithm,
            username: "Mufasa",
            realm: "http-auth@example.org",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            method: "GET",
            uri: "/dir/index.html",
            auth: Some(("f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", 1)),
        };
        assert_eq!(inputs.response(&secret("Circle of Life")), response);
    }
}

/// RFC 2617 section 3.5, and the same without qop as RFC 2069 would have it.
#[test]
fn responses_are_those_of_rfc_2617() {
    let mut inputs = Inputs {
        algorithm: Algorithm::Md5,
        username: "Mufasa",
        realm: "testrealm@host.com",
        nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        method: "GET",
        uri: "/dir/index.html",
        auth: Some(("0a4f113b", 1)),
    };
    assert_eq!(inputs.response(&secret("Circle Of Life")), "6629fae49393a05397450978507c4ef1");
    inputs.auth = None;
    assert_eq!(inputs.response(&secret("Circle Of Life")), "670fd8c2df070c60b045671b8b24ff02");
}

#[test]
fn metas_challenge_is_answered_with_the_number_without_its_plus() {
    let refusal = Message::response(407, None)
        .header("Proxy-Authenticate", "Digest realm=\"wa.meta.vc\",nonce=\"00112233445566ff\",opaque=\"ff00\",algorithm=MD5,qop=\"auth\"")
        .build()
        .unwrap();
    let credentials = Credentials::of_number("wa.meta.vc", "+15550001111", secret("pw"));
    let uri = "sip:+12195550714@wa.meta.vc;transport=tls";
    let mut client = Client::new();
    let entropy = &mut SeededEntropy::new(1);
    let (name, first) = client.answer(&refusal, &credentials, &Method::Invite, uri, entropy).unwrap();
    assert_eq!(
        (name, first.username.as_str(), first.uri.as_str()),
        ("Proxy-Authorization", "15550001111", uri)
    );
    assert_eq!((first.opaque.as_deref(), first.algorithm), (Some("ff00"), Some(Algorithm::Md5)));
    let (_, second) = client.answer(&refusal, &credentials, &Method::Bye, uri, entropy).unwrap();
    let counts = [&first, &second].map(|answer| answer.auth.as_ref().unwrap().1);
    assert_eq!(counts, [1, 2], "the count of one nonce grows");
    assert!(second.to_string().contains("qop=auth, ") && second.to_string().ends_with("nc=00000002"));
    assert_eq!(second.to_string().parse(), Ok(second));
}

#[test]
fn of_several_challenges_the_strongest_of_our_realm_is_answered() {
    let md5 = challenge("Digest realm=\"pbx\", nonce=\"1\", qop=\"auth\"");
    let sha = challenge("Digest realm=\"pbx\", nonce=\"2\", qop=\"auth-int, auth\", algorithm=\"SHA-256\"");
    let other = challenge("Digest realm=\"evil\", nonce=\"3\", qop=\"auth\", algorithm=SHA-256");
    let ours = Credentials { realm: Some("pbx".to_owned()), ..alice() };
    let nonce =
        |challenges: &[Challenge], credentials| answer(challenges, credentials).map(|answer| answer.nonce);
    assert_eq!(nonce(&[md5.clone(), sha.clone()], &ours).unwrap(), "2");
    assert_eq!(nonce(&[sha, md5.clone()], &ours).unwrap(), "2");
    assert_eq!(nonce(&[other.clone(), md5], &ours).unwrap(), "1");
    assert_eq!(nonce(std::slice::from_ref(&other), &ours), Err(DigestError::OtherRealm));
    let any = alice();
    assert_eq!(nonce(&[other], &any).unwrap(), "3");
    assert_eq!(nonce(&[], &any), Err(DigestError::NoChallenge));
}

#[test]
fn challenges_we_cannot_answer_are_left_out() {
    let refusal = Message::response(401, None)
        .header("WWW-Authenticate", "Basic realm=\"x\"")
        .header("WWW-Authenticate", "Digest realm=\"x\", nonce=\"1\", algorithm=SHA-512-256")
        .header("WWW-Authenticate", "Digest realm=\"x\", nonce=\"2\", algorithm=MD5-sess, qop=\"auth\"")
        .header("WWW-Authenticate", "Digest realm=\"x\", nonce=\"3\", qop=\"auth-int\"")
        .header("WWW-Authenticate", "Digest realm=\"x\"")
        .header("Proxy-Authenticate", "Digest realm=\"x\", nonce=\"4\"")
        .header("www-authenticate", "digest\tREALM=x , Nonce = \"5\" ,, stale=TRUE")
        .build()
        .unwrap();
    let challenges = Challenge::of(&refusal);
    assert_eq!(challenges.len(), 1);
    assert_eq!((challenges[0].nonce.as_str(), challenges[0].stale, challenges[0].qop), ("5", true, false));
    assert_eq!(Challenge::of(&Message::response(403, None).build().unwrap()), []);
}

#[test]
fn a_server_without_qop_gets_the_form_of_rfc_2069() {
    let legacy = answer(&[challenge("Digest realm=\"pbx\", nonce=\"1\"")], &alice()).unwrap();
    assert_eq!((&legacy.auth, legacy.algorithm), (&None, None));
    assert!(!legacy.to_string().contains("qop") && !legacy.to_string().contains("algorithm"));
}

#[test]
fn a_right_answer_is_accepted_once_for_each_count() {
    let mut verifier = Verifier::new(Secret::new([1; 32]));
    for algorithm in [0, 1] {
        let challenges = verifier.challenge("pbx", false, NOW);
        let offered = challenges[algorithm].to_string();
        let answer = answer(&[challenge(&offered)], &alice()).unwrap();
        let sent: Authorization = answer.to_string().parse().unwrap();
        assert_eq!(verify(&mut verifier, &sent), Verdict::Accepted { username: "alice".to_owned() });
        assert_eq!(verify(&mut verifier, &sent), Verdict::Stale, "a replay");
    }
}

#[test]
fn the_digest_is_checked_against_the_headers_own_uri() {
    let mut verifier = Verifier::new(Secret::new([1; 32]));
    let challenges = verifier.challenge("pbx", false, NOW);
    let mut sent = answer(&challenges, &alice()).unwrap();
    assert_eq!(sent.uri, "sip:b@c", "the Request-URI may be sip:b@c;transport=tls: nobody asks");
    sent.uri.push_str(";transport=tls");
    assert_eq!(verify(&mut verifier, &sent), Verdict::Wrong);
}

#[test]
fn what_is_altered_in_an_answer_makes_it_wrong() {
    let mut verifier = Verifier::new(Secret::new([1; 32]));
    let challenges = verifier.challenge("pbx", false, NOW);
    let right = answer(&challenges, &alice()).unwrap();
    type Alter = fn(&mut Authorization);
    let alterations: [(Alter, Verdict); 9] = [
        (|answer| answer.username = "bob".to_owned(), Verdict::Unknown),
        (|answer| answer.realm = "other".to_owned(), Verdict::Wrong),
        (|answer| answer.nonce.push('0'), Verdict::Wrong),
        (|answer| answer.uri = "sip:x@y".to_owned(), Verdict::Wrong),
        (|answer| answer.response = String::new(), Verdict::Wrong),
        (|answer| answer.response.truncate(31), Verdict::Wrong),
        (|answer| answer.algorithm = Some(Algorithm::Md5), Verdict::Wrong),
        (|answer| answer.auth = Some(("x".to_owned(), 1)), Verdict::Wrong),
        (|answer| answer.auth = None, Verdict::Wrong),
    ];
    for (index, (alter, verdict)) in alterations.into_iter().enumerate() {
        let mut altered = right.clone();
        alter(&mut altered);
        assert_eq!(verify(&mut verifier, &altered), verdict, "alteration {index}");
    }
    let wrong = Credentials { password: secret("guess"), ..alice() };
    assert_eq!(verify(&mut verifier, &answer(&challenges, &wrong).unwrap()), Verdict::Wrong);
    assert!(
        matches!(verify(&mut verifier, &right), Verdict::Accepted { .. }),
        "none of them used the nonce up"
    );
}

#[test]
fn a_right_password_with_a_foreign_nonce_is_stale_and_a_wrong_one_is_wrong() {
    let mut verifier = Verifier::new(Secret::new([1; 32]));
    let foreign = [challenge("Digest realm=\"pbx\", nonce=\"0123\", qop=\"auth\"")];
    assert_eq!(verify(&mut verifier, &answer(&foreign, &alice()).unwrap()), Verdict::Stale);
    let wrong = Credentials { password: secret("guess"), ..alice() };
    assert_eq!(verify(&mut verifier, &answer(&foreign, &wrong).unwrap()), Verdict::Wrong);
}

#[test]
fn an_unknown_user_is_never_accepted_even_with_an_empty_password() {
    let mut verifier = Verifier::new(Secret::new([1; 32]));
    let challenges = verifier.challenge("pbx", false, NOW);
    let ghost = Credentials { username: "ghost".to_owned(), password: secret(""), realm: None };
    assert_eq!(verify(&mut verifier, &answer(&challenges, &ghost).unwrap()), Verdict::Unknown);
}

#[test]
fn each_realm_finds_its_own_authorization() {
    let of = |realm: &str| {
        let text = format!("Digest realm=\"{realm}\", nonce=\"1\", qop=\"auth\"");
        answer(&[challenge(&text)], &alice()).unwrap().to_string()
    };
    let request = Message::request(Method::Invite, "sip:b@c")
        .header("Authorization", "Digest broken")
        .header("Authorization", of("other"))
        .header("authorization", of("pbx"))
        .build()
        .unwrap();
    assert_eq!(Authorization::of(&request, "Authorization", "pbx").unwrap().realm, "pbx");
    assert_eq!(Authorization::of(&request, "Proxy-Authorization", "pbx"), None);
    assert_eq!(Authorization::of(&request, "Authorization", "third"), None);
}

#[test]
fn broken_headers_are_refused_at_every_length() {
    let whole =
        answer(&[challenge("Digest realm=\"p\\\"bx\", nonce=\"1\", opaque=\"o\", qop=\"auth\"")], &alice());
    let whole = whole.unwrap();
    let text = whole.to_string();
    assert_eq!(text.parse(), Ok(whole));
    for end in 0..text.len() {
        // Cut before qop, it is a whole answer in the form of RFC 2069, which the verifier refuses.
        let cut = text[..end].parse::<Authorization>();
        assert!(cut.is_err() || cut.is_ok_and(|cut| cut.auth.is_none()), "{}", &text[..end]);
        let _ = text[..end].parse::<Challenge>();
    }
    for bad in [
        "Digest realm=\"a\", nonce=\"1\", realm=\"b\"",
        "Digest realm=\"a\", nonce=\"1",
        "Digest realm=\"a\"x, nonce=\"1\"",
        "Digest realm=a b, nonce=\"1\"",
        "Digest realm=, nonce=\"1\"",
        "Digest re alm=a, nonce=\"1\"",
        "Digest realm, nonce=\"1\"",
        "Digestrealm=\"a\", nonce=\"1\"",
    ] {
        assert!(bad.parse::<Challenge>().is_err(), "{bad}");
    }
    for count in ["1", "0000000g", "00000000", "000000001", "+0000001"] {
        assert!(text.replace("00000001", count).parse::<Authorization>().is_err(), "{count}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let answer = answer(&[challenge("Digest realm=\"pbx\", nonce=\"1\"")], &alice()).unwrap();
    assert!(!format!("{answer:?}").contains(&answer.response));
    assert!(!format!("{:?}", alice()).contains("s3cret"));
    assert!(!format!("{:?}", Verifier::new(Secret::new([77; 32]))).contains("77"));
}

/// Anybody who can send a request could, before authentication, have a header printed that does not parse.
#[test]
fn a_response_that_is_no_hex_is_malformed() {
    let head = "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:a\", response=";
    let read = |response: &str| format!("{head}{response}").parse::<Authorization>();
    assert!(read("\"00ff00ff00ff00ff00ff00ff00ff00ff\"").is_ok());
    for bad in ["\"\\\\\\\"\"", "\"\"", "\"xyz\"", &format!("\"{}\"", "0".repeat(65))] {
        assert_eq!(read(bad), Err(DigestError::Malformed("response")), "{bad}");
    }
}
