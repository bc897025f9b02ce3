//! SIPp in the chroot, with the scenarios of `examples/sipp`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::house::{HOSTNAME, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{Process, root};
use crate::ports::port;

/// A house without recording whose calls go to a PBX at `pbx`, which calls customers too.
pub(crate) fn trunk_house(ports: Ports, pbx: u16) -> House {
    let rest = format!(
        "calls = 2000\n\
         [[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\ntrunk = \"pbx\"\nextension = \"tone\"\n\
         [[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"127.0.0.1\"\nport = {pbx}\nnetworks = [\"127.0.0.1/32\"]\n\
         number = \"{NUMBER}\"\nprobe_s = 0\n"
    );
    let mut house = House::new(ports, &rest);
    house.config = house.config.replace("[recording]\n", "[recording]\nenabled = false\n");
    house
}

/// SIPp in the chroot, with a folder that both see.
pub(crate) struct Sipp {
    root: PathBuf,
    inside: String,
}

impl Sipp {
    pub(crate) fn prepare(house: &House) -> Self {
        let sipp = Self { root: root(), inside: format!("setu-tests/sipp-{}", house.ports.meta) };
        let folder = sipp.folder();
        fs::create_dir_all(&folder).unwrap();
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sipp");
        for entry in fs::read_dir(scenarios).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        for name in ["ca.pem", "edge.pem", "edge.key"] {
            fs::copy(house.path(name), folder.join(name)).unwrap();
        }
        let login = format!(
            "SEQUENTIAL\n{0};[authentication username={0} password={NUMBER_PASSWORD}];{HOSTNAME}\n",
            &NUMBER[1..]
        );
        fs::write(folder.join("numbers.csv"), login).unwrap();
        sipp
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(&self.inside)
    }

    /// `meta_uac.xml`: users call the business.
    pub(crate) fn meta_calls(&self, house: &House, rate: u32, calls: u32, talk_ms: u32) -> Vec<String> {
        let (port, bridge) = (port(), house.ports.meta);
        words(&format!(
            "-sf meta_uac.xml -t l1 -tls_ca ca.pem -inf numbers.csv -cid_str outgoing:wacid.%u-%p@%s -l 1900 \
             -r {rate} -m {calls} -d {talk_ms} -p {port} 127.0.0.1:{bridge}"
        ))
    }

    /// `meta_uas.xml`: users are called.
    pub(crate) fn meta_answers(&self, house: &House) -> Vec<String> {
        words(&format!("-sf meta_uas.xml -t l1 -tls_cert edge.pem -tls_key edge.key -p {}", house.ports.edge))
    }

    /// `trunk_uac.xml`: the PBX at `pbx` calls a user.
    pub(crate) fn trunk_calls(
        &self,
        house: &House,
        pbx: u16,
        rate: u32,
        calls: u32,
        talk_ms: u32,
    ) -> Vec<String> {
        words(&format!(
            "-sf trunk_uac.xml -t u1 -s +919876500 -p {pbx} -r {rate} -m {calls} -d {talk_ms} 127.0.0.1:{}",
            house.ports.udp
        ))
    }

    /// Starts SIPp with `args`; its statistics go to `NAME.csv`.
    pub(crate) fn start(&self, name: &str, args: &[impl AsRef<str>]) -> Process {
        let _ = fs::remove_file(self.folder().join(format!("{name}.csv")));
        let mut words = vec![format!("cd /{} && exec sipp -i 127.0.0.1 -nostdin -trace_err", self.inside)];
        words.push(format!("-error_file {name}.err -trace_stat -stf {name}.csv -fd 1"));
        words.extend(args.iter().map(|arg| format!("'{}'", arg.as_ref())));
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(["/bin/sh", "-c", &words.join(" ")]).env("TERM", "dumb");
        Process::start(&format!("sipp {name}"), &mut command, &self.folder().join(format!("{name}.log")))
    }

    /// Waits for the end of a calling SIPp: every call succeeded and nothing was sent twice.
    pub(crate) fn went_well(&self, calling: &mut Process, name: &str, calls: u32, within: Duration) {
        let status = calling.wait(within);
        let errors = fs::read_to_string(self.folder().join(format!("{name}.err"))).unwrap_or_default();
        let errors: String = errors.lines().take(30).collect::<Vec<_>>().join("\n");
        assert!(status.success(), "sipp {name} ended with {status}:\n{errors}\n{}", calling.output());
        assert_eq!(self.figure(name, "SuccessfulCall(C)"), f64::from(calls), "{errors}");
        assert_eq!(self.figure(name, "FailedCall(C)"), 0.0, "{errors}");
        assert_eq!(self.figure(name, "Retransmissions(C)"), 0.0, "{errors}");
    }

    /// The last value of a column of the statistics.
    pub(crate) fn figure(&self, name: &str, column: &str) -> f64 {
        let text = fs::read_to_string(self.folder().join(format!("{name}.csv"))).unwrap();
        let at = text.lines().next().unwrap().split(';').position(|c| c == column);
        let at = at.unwrap_or_else(|| panic!("SIPp counts no {column}"));
        text.lines().last().unwrap().split(';').nth(at).unwrap().parse().unwrap()
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder());
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}
