//! A headless Chromium, driven over its debugging pipe: no driver program, no port, and it ends when the test's process
//! does, however that ends.
//!
//! The protocol is JSON with a NUL after each message, on the file descriptors 3 and 4 of the browser
//! (<https://chromedevtools.github.io/devtools-protocol/>). The shell that starts it puts its standard streams there.

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What every wait ends at.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a page.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The programs that may be it, where the `PATH` leads.
const PROGRAMS: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell"];
/// The only host that it finds; it talks to nobody else of its own accord either.
const FLAGS: [&str; 16] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-breakpad",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-pipe",
];
/// One at a time: each is some processes, and the tests beside it wait for a machine that is not overloaded.
static ONE: Mutex<()> = Mutex::new(());

/// A browser, ended with this value.
pub(crate) struct Browser {
    pipe: Rc<Pipe>,
    child: Child,
    profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts one. Without any on this machine says so and answers `None`, so that the test is skipped; where
    /// `FAULTLINE_REQUIRE_BROWSER` is set, that fails instead.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = find() else {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            assert!(
                std::env::var_os("FAULTLINE_REQUIRE_BROWSER").is_none(),
                "no Chromium here: run scripts/install-chromium, or name one with FAULTLINE_CHROMIUM"
            );
            // Not `eprintln`, which nobody sees when the test passes.
            let _ = writeln!(std::io::stderr(), "skipped: {test} (no Chromium here: run scripts/install-chromium)");
            return None;
        };
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::Builder::new().prefix("faultline-browser-").tempdir().expect("a directory");
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        let writer = child.stdin.take().expect("piped");
        let reader = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in reader.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice::<Value>(&message) else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let pipe = Pipe { writer: RefCell::new(writer), messages, events: RefCell::default(), calls: RefCell::new(0) };
        let browser = Self { pipe: Rc::new(pipe), child, profile, _turn: turn };
        browser.pipe.call(None, "Browser.getVersion", &json!({}));
        Some(browser)
    }

    /// A window of its own, with cookies of its own.
    pub(crate) fn tab(&self) -> Tab {
        let call = |method, parameters: Value| self.pipe.call(None, method, &parameters);
        let context = call("Target.createBrowserContext", json!({}))["browserContextId"].clone();
        let target =
            call("Target.createTarget", json!({"url": "about:blank", "browserContextId": context}))["targetId"].clone();
        let session = call("Target.attachToTarget", json!({"targetId": target, "flatten": true}))["sessionId"].clone();
        let session = session.as_str().expect("a session").to_owned();
        let tab = Tab { pipe: self.pipe.clone(), session, complaints: RefCell::default() };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), &json!({}));
        }
        tab.size(1280, 800);
        tab.lit("light");
        tab
    }
}

impl Browser {
    /// All its processes: those that were started with its profile.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let profile = self.profile.path().to_string_lossy().into_owned();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&profile)
        })
        .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The program, where there is one. `FAULTLINE_CHROMIUM` names another, or none if it is empty.
fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("FAULTLINE_CHROMIUM") {
        if named.is_empty() {
            return None;
        }
        let named = PathBuf::from(named);
        assert!(named.is_file(), "FAULTLINE_CHROMIUM names no program: {}", named.display());
        return Some(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|program| program.is_file())
}

/// Both ways to the browser.
struct Pipe {
    writer: RefCell<ChildStdin>,
    messages: Receiver<Value>,
    /// What it has told without being asked, and nobody has taken yet.
    events: RefCell<VecDeque<Value>>,
    calls: RefCell<u64>,
}

impl Pipe {
    /// Calls a method; panics with what the browser says against it.
    #[track_caller]
    fn call(&self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        self.try_call(session, method, parameters).unwrap_or_else(|error| panic!("{method} {parameters}: {error}"))
    }

    #[track_caller]
    fn try_call(&self, session: Option<&str>, method: &str, parameters: &Value) -> Result<Value, Value> {
        *self.calls.borrow_mut() += 1;
        let id = *self.calls.borrow();
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let text = format!("{message}\0");
        self.writer.borrow_mut().write_all(text.as_bytes()).expect("the browser runs");
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut message = self.messages.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == id {
                let error = message["error"].take();
                return if error.is_null() { Ok(message["result"].take()) } else { Err(error) };
            }
            self.events.borrow_mut().push_back(message);
        }
    }
}

/// A window.
pub(crate) struct Tab {
    pipe: Rc<Pipe>,
    session: String,
    /// What the browser found wrong with pages of this window.
    complaints: RefCell<Vec<String>>,
}

impl Tab {
    #[track_caller]
    pub(crate) fn call(&self, method: &str, parameters: &Value) -> Value {
        self.pipe.call(Some(&self.session), method, parameters)
    }

    /// Opens an address and waits until it is loaded, with everything that the document names.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        let loaded = self.loads();
        let answer = self.call("Page.navigate", &json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until_loads(loaded, url);
    }

    /// Does what leads to another page, and waits for that.
    #[track_caller]
    pub(crate) fn follow(&self, doing: impl FnOnce(&Self)) {
        let loaded = self.loads();
        doing(self);
        self.until_loads(loaded, "another page");
    }

    /// How many documents this window has loaded.
    pub(crate) fn loads(&self) -> usize {
        self.pipe.call(None, "Browser.getVersion", &json!({}));
        self.events().iter().filter(|event| event["method"] == "Page.loadEventFired").count()
    }

    #[track_caller]
    fn until_loads(&self, before: usize, what: &str) {
        let end = Instant::now() + DEADLINE;
        while self.loads() == before {
            assert!(Instant::now() < end, "not loaded: {what}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn events(&self) -> Vec<Value> {
        let events = self.pipe.events.borrow();
        events.iter().filter(|event| event["sessionId"] == self.session.as_str()).cloned().collect()
    }

    /// What an expression gives. A promise is waited for.
    #[track_caller]
    pub(crate) fn eval(&self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    #[track_caller]
    fn try_eval(&self, expression: &str) -> Result<Value, Value> {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.pipe.try_call(Some(&self.session), "Runtime.evaluate", &parameters)?;
        let thrown = answer["exceptionDetails"].take();
        if thrown.is_null() { Ok(answer["result"]["value"].take()) } else { Err(thrown) }
    }

    /// Waits until an expression is true (or anything that counts as it); answers what it gave.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, expression: &str) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            // A page that is just being left has no answer.
            let given = self.try_eval(expression);
            if let Ok(given) = &given
                && !matches!(given, Value::Null | Value::Bool(false))
                && given != 0
                && given != ""
            {
                return given.clone();
            }
            if Instant::now() > end {
                let (url, text) = (self.eval("location.href"), self.eval("document.body.innerText"));
                panic!(
                    "waited in vain: {what}\n{expression} gives {given:?}\n{url}\n{}",
                    text.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub(crate) fn until_text(&self, text: &str) {
        self.until(text, &format!("document.body.innerText.includes({})", json!(text)));
    }

    /// What can be read on the page.
    pub(crate) fn text(&self) -> String {
        self.eval("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Clicks, as a hand does, in the middle of the first element that a selector finds.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let find = format!(
            "(() => {{ const found = document.querySelector({}); if (!found) return null;
               found.scrollIntoView({{block: 'center', behavior: 'instant'}});
               const box = found.getBoundingClientRect();
               return box.width && [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let at = self.until(&format!("{selector} to click on"), &find);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let (x, y) = (&at[0], &at[1]);
            let parameters = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &parameters);
        }
    }

    /// Types a text into what has the focus.
    pub(crate) fn write(&self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`.
    pub(crate) fn press(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            other => panic!("the code of {other} is not known"),
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let parameters = json!({"type": down, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", &parameters);
        let parameters = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", &parameters);
    }

    /// The size of the window in CSS pixels; narrow ones are a phone's.
    pub(crate) fn size(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What the system says of the light: `light` or `dark`.
    pub(crate) fn lit(&self, how: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": how}, {"name": "prefers-reduced-motion", "value": "reduce"}]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Keeps what can be seen as a PNG file.
    pub(crate) fn picture(&self, file: &Path) {
        use base64::Engine as _;
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png", "optimizeForSpeed": false}));
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().expect("a picture"));
        std::fs::write(file, bytes.expect("base64")).expect("a file");
    }

    /// What the browser complained about since the last time: errors on the console, exceptions, violations of the content
    /// security policy, and whatever could not be loaded.
    pub(crate) fn complaints(&self) -> Vec<String> {
        // What it has to say of what was done before comes first.
        let _ = self.try_eval("0");
        let mut events = self.pipe.events.borrow_mut();
        let mut complaints = self.complaints.take();
        events.retain(|event| {
            let complaint = (event["sessionId"] == self.session.as_str()).then(|| complaint(event)).flatten();
            let is_other = complaint.is_none();
            complaints.extend(complaint);
            is_other
        });
        complaints
    }
}

/// What an event complains about.
fn complaint(event: &Value) -> Option<String> {
    let parameters = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(format!("exception: {}", parameters["exceptionDetails"])),
        "Runtime.consoleAPICalled" if matches!(parameters["type"].as_str(), Some("error" | "warning" | "assert")) => {
            Some(format!("console: {}", parameters["args"]))
        }
        "Log.entryAdded" if matches!(parameters["entry"]["level"].as_str(), Some("error" | "warning")) => {
            let entry = &parameters["entry"];
            Some(format!("{}: {} {}", entry["source"], entry["text"], entry["url"]))
        }
        _ => None,
    }
}
