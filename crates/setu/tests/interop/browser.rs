//! An agent in a browser: a headless Chromium with JsSIP, whose microphone is a tone, over WebSocket, ICE and DTLS-SRTP.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use setu_model::{Cause, Cdr, Side};
use setu_twin::Person;
use setu_twin::meta::CallSpec;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::calls::{AGENT_HZ, TALK_MS, customer_was_served, recording_holds_both_sides};
use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{Process, root, tool, until};
use crate::ports::port;

/// A browser that starts takes all of a small machine, and another one's call would be late for its packets.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_a_browser_answers_a_user() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let page = Page::open().await;
    let (house, ws, _bridge) = house(&page);
    let edge = house.edge().await;
    let browser = Browser::start(&page, ws, "");
    until(|| browser.tell("it registers", &house), STARTING, || page.told(&Report::Registered));
    let customer = Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS);
    let report = edge.call(CallSpec::new(CUSTOMER, NUMBER).by(customer)).await.unwrap();
    until(|| browser.tell("its call ends", &house), ENDING, || page.heard().is_some());
    customer_was_served(&report);
    browser_was_served(&page);
    call_was_kept(&house.cdrs(1).remove(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_a_browser_calls_a_user() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let page = Page::open().await;
    let (house, ws, _bridge) = house(&page);
    let edge = house.edge().await;
    let next = edge.next_business_call(STARTING);
    let browser = Browser::start(&page, ws, &format!("&call=sip:%2B{}@127.0.0.1", &CUSTOMER[1..]));
    let report = next.await.unwrap_or_else(|| panic!("{}", browser.tell("the user sees a call", &house)));
    until(|| browser.tell("its call ends", &house), ENDING, || page.heard().is_some());
    customer_was_served(&report);
    browser_was_served(&page);
    call_was_kept(&house.cdrs(1).remove(0));
}

/// A bridge with a WebSocket for pages of `page`'s origin, and an agent who may use it.
fn house(page: &Page) -> (House, u16, Process) {
    let mut house = House::new(
        Ports::pick(),
        &format!(
            "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
             [[accounts]]\nname = \"alice\"\npassword = \"wonderland\"\nnumber = \"{NUMBER}\"\nsrtp = \"dtls\"\n"
        ),
    );
    let ws = port();
    let listener = format!(
        "[agents]\nws = \"127.0.0.1:{ws}\"\nwebsocket_origins = [\"http://127.0.0.1:{}\"]\n",
        page.port
    );
    house.config = house.config.replace("[agents]\n", &listener);
    let bridge = house.serve();
    (house, ws, bridge)
}

/// The page's analyser found the customer's tone, and hardly anything else.
fn browser_was_served(page: &Page) {
    let heard = page.heard().unwrap();
    let right = heard.iter().filter(|hz| hz.abs_diff(CUSTOMER_HZ) <= 10).count();
    // Ten looks a second.
    assert!(right >= 15 && right * 10 >= heard.len() * 9, "{heard:?}");
}

fn call_was_kept(cdr: &Cdr) {
    assert_eq!(cdr.termination.cause, Cause::Success, "{cdr:?}");
    let agent = cdr.legs.iter().find(|leg| leg.side == Side::Agents).unwrap();
    assert_eq!(
        (agent.codec.as_deref(), agent.srtp.as_deref()),
        (Some("opus"), Some("DTLS-SRTP")),
        "{agent:?}"
    );
    recording_holds_both_sides(cdr);
}

/// A Chromium that ends with the test, with all of its processes.
struct Browser {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Opens `page` as the agent alice of the bridge that listens at `ws`; `more` is added to the page's query.
    fn start(page: &Page, ws: u16, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name).to_string_lossy().into_owned();
        let tone = path("tone.wav");
        let hz = AGENT_HZ.to_string();
        tool(
            "sox",
            &["-n", "-r", "48000", "-c", "1", "-b", "16", &tone, "synth", "10", "sine", &hz, "vol", "0.5"],
        );
        let url = format!(
            "http://127.0.0.1:{}/?ws=ws://127.0.0.1:{ws}&uri=sip:alice@127.0.0.1&password=wonderland{more}",
            page.port
        );
        let mut command = Command::new("chromium");
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", path("profile")))
            .arg(format!("--use-file-for-fake-audio-capture={tone}"))
            .arg(url)
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .process_group(0);
        let process = Process::start("chromium", &mut command, &folder.path().join("log"));
        Self { process, _folder: folder }
    }

    /// What was waited for, and what both sides say.
    fn tell(&self, what: &str, house: &House) -> String {
        format!("{what}; the browser says:\n{}\nthe bridge says:\n{}", self.process.output(), house.log())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    }
}

const FLAGS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--allow-loopback-in-peer-connection",
    "--enable-logging=stderr",
];

/// How long a browser on a busy machine may take to be there.
const STARTING: Duration = Duration::from_secs(60);
/// How long after the customer's BYE.
const ENDING: Duration = Duration::from_secs(10);

type Reports = Arc<std::sync::Mutex<Vec<Report>>>;

/// The page on its server, and what it told.
struct Page {
    port: u16,
    told: Reports,
    server: tokio::task::JoinHandle<()>,
}

/// What the page tells.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase", tag = "event")]
enum Report {
    Registered,
    /// A call or the registration did not come about.
    Failed {
        cause: String,
    },
    /// A call ended; the loudest frequency of each look that found one, in Hz.
    Ended {
        heard: Vec<u32>,
    },
}

impl Page {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Reports::default();
        let reports = told.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, reports.clone()));
            }
        });
        Self { port, told, server }
    }

    /// Whether it told `report`. Fails the test if it told of a failure.
    fn told(&self, report: &Report) -> bool {
        self.reports().contains(report)
    }

    /// What it heard in the call that ended.
    fn heard(&self) -> Option<Vec<u32>> {
        self.reports().into_iter().find_map(|it| match it {
            Report::Ended { heard } => Some(heard),
            Report::Registered | Report::Failed { .. } => None,
        })
    }

    fn reports(&self) -> Vec<Report> {
        let reports = self.told.lock().unwrap().clone();
        assert!(!reports.iter().any(|it| matches!(it, Report::Failed { .. })), "{reports:?}");
        reports
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Answers one request: for the page, for JsSIP, or a report.
async fn serve(stream: TcpStream, told: Reports) {
    let mut stream = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some((_, value)) = line.to_ascii_lowercase().split_once("content-length:") {
            length = value.trim().parse().unwrap();
        }
        match line.trim_end() {
            "" => break,
            first if request.is_empty() => request = first.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let (kind, answer) = match request.split([' ', '?']).take(2).collect::<Vec<_>>()[..] {
        ["GET", "/"] => ("text/html", include_str!("browser.html").to_owned()),
        ["GET", "/jssip.js"] => ("text/javascript", fs::read_to_string(root().join("opt/jssip.js")).unwrap()),
        ["POST", "/told"] => {
            told.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            ("text/plain", String::new())
        }
        _ => ("text/plain", String::new()),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(answer.as_bytes()).await;
}
