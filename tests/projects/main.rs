//! `waterspout new`, in every language and from every template: what it writes is built, served and changed by the words of its own README,
//! and a client talks to it.
//!
//! The languages' tools are those of `cargo xtask setup --lang`; what they compile stays from run to run where the language keeps it. A
//! binary of its own, because it compiles.

mod any_language;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use waterspout_tests::program::{Served, as_a_person, program, root, run};
use waterspout_tests::{Client, within};

/// A language as `--lang` takes it, and what its projects look like.
struct Language {
    name: &'static str,
    /// Of the echo.
    source: &'static str,
    /// What is no program, and where its compiler says so.
    broken: &'static str,
    complaint: &'static str,
}

const RUST: Language =
    Language { name: "rust", source: "src/lib.rs", broken: "impl Handler for", complaint: "src/lib.rs:" };
const JAVASCRIPT: Language =
    Language { name: "js", source: "src/handler.js", broken: "export class {", complaint: "handler.js:" };
const PYTHON: Language = Language {
    name: "python",
    source: "handler.py",
    broken: "class Echo(:",
    complaint: "handler.py\", line ",
};
const C: Language = Language { name: "c", source: "echo.c", broken: "void ws_open(", complaint: "echo.c:" };
const GO: Language = Language { name: "go", source: "main.go", broken: "func (", complaint: "main.go:" };

/// What an echo says before what it was told, and what it says once that is changed.
const SAID: &str = "You said: ";
const WROTE: &str = "You wrote ";

/// A project that `waterspout new` has written.
struct Project {
    folder: PathBuf,
    readme: Vec<String>,
}

impl Project {
    fn new(language: &Language, template: &str) -> Self {
        let name = format!("my-{template}");
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("projects").join(language.name);
        let folder = parent.join(&name);
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("writable");
        }
        fs::create_dir_all(&parent).expect("writable");
        let mut new = Command::new(program());
        new.args(["new", &name, "--lang", language.name, "--template", template]).current_dir(&parent);
        let said = run(&mut new);
        assert!(said.contains(&format!("cd {name}")) && said.contains("waterspout dev"), "{said}");
        let readme = fs::read_to_string(folder.join("README.md")).expect("a README");
        let readme: Vec<_> = readme.lines().map(String::from).collect();
        assert_eq!(readme.len(), 3, "{readme:?}");
        Self { folder, readme }
    }

    /// The commands in one line of the README.
    fn commands(&self, line: usize) -> Vec<&str> {
        self.readme[line].split('`').skip(1).step_by(2).collect()
    }

    /// A command as a person types it, in the project, whose shell has the languages' tools.
    fn shell(&self, command: &str) -> Command {
        let environment = root().join("target/languages/env");
        assert!(environment.is_file(), "cargo xtask setup --lang NAME makes {}", environment.display());
        let mut shell = Command::new("sh");
        as_a_person(&mut shell);
        let waterspout = program().parent().expect("it lies in a folder").display().to_string();
        let script = format!(". '{}'\nPATH='{waterspout}':\"$PATH\"\n{command}", environment.display());
        shell.args(["-e", "-c", &script]).current_dir(&self.folder);
        // What Go's projects need lies in them.
        shell.env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        // Not the cache of whoever runs the tests.
        shell.env("XDG_CACHE_HOME", self.cache()).env("XDG_STATE_HOME", self.folder.join("target/state"));
        shell
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("target/cache")
    }

    /// How many handlers it has of which the compiled code is kept.
    fn compiled(&self) -> usize {
        let files = fs::read_dir(self.cache().join("waterspout")).into_iter().flatten().flatten();
        files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())).count()
    }

    /// A server whose process is the program's own.
    async fn serve(&self, command: &str) -> Served {
        Served::start(self.shell(&format!("exec {command}")), &self.folder).await
    }

    fn change(&self, source: &str, change: impl FnOnce(&str) -> String) {
        let file = self.folder.join(source);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        fs::write(&file, change(&text)).expect("writable");
    }
}

/// The echo is built and served by its README's words, and changed while somebody is connected.
async fn echo(language: Language) {
    let project = Project::new(&language, "echo");
    let [build, "waterspout build", serve] = project.commands(1)[..] else { panic!("{:?}", project.readme) };
    run(&mut project.shell(build));
    let server = project.serve(&format!("{serve} --listen 127.0.0.1:0")).await;
    let mut client = Client::connect(server.address(), "/websocket", &[]).await.expect("open");
    assert_eq!(says_hello(&mut client).await, "You said: hello");
    server.end().await;

    // What it has compiled to check it, the server does not compile again.
    fs::remove_dir_all(project.cache()).expect("the server has kept what it compiled");
    assert!(run(&mut project.shell("waterspout build")).contains("built in "));
    assert_eq!(project.compiled(), 1);
    project.serve(&format!("{serve} --listen 127.0.0.1:0")).await.end().await;
    assert_eq!(project.compiled(), 1);

    // Who makes a mistake is told what and where, and what is served goes on.
    let [develop] = project.commands(2)[..] else { panic!("{:?}", project.readme) };
    let mut server = project.serve(&format!("{develop} -- --listen 127.0.0.1:0")).await;
    let mut client = Client::connect(server.address(), "/websocket", &[]).await.expect("open");
    assert_eq!(says_hello(&mut client).await, "You said: hello");
    let right = fs::read_to_string(project.folder.join(language.source)).expect("a source");
    project.change(language.source, |text| format!("{text}\n{}\n", language.broken));
    tells(&mut server, &mut client, language.complaint).await;
    tells(&mut server, &mut client, "what was built before is served on").await;
    assert_eq!(says_hello(&mut client).await, "You said: hello");
    // Mended, and otherwise than it was.
    assert!(right.contains(SAID), "the echo has changed: so must this");
    project.change(language.source, |_| right.replace(SAID, WROTE));
    tells(&mut server, &mut client, "the handler is replaced").await;
    tells(&mut server, &mut client, "open connections have been dealt with").await;
    assert_eq!(says_hello(&mut client).await, "You wrote hello");
    server.end().await;
}

/// The chat is built and served by its README's words; its page is there, and people hear each other.
async fn chat(language: Language) {
    let project = Project::new(&language, "chat");
    let [build, "waterspout build", serve] = project.commands(1)[..] else { panic!("{:?}", project.readme) };
    run(&mut project.shell(build));
    project.change("waterspout.toml", |text| format!("listen = \"127.0.0.1:0\"\n{text}"));
    let server = project.serve(serve).await;
    let enters = async |name: &str| {
        let mut client = Client::connect(server.address(), "/chat/tea", &[]).await.expect("open");
        client.send_text(format!(r#"{{"type":"join","name":"{name}"}}"#)).await;
        client
    };
    let mut ada = enters("Ada").await;
    is_told(&mut ada, "welcome").await;
    is_told(&mut ada, "joined").await;
    let mut bob = enters("Bob").await;
    is_told(&mut bob, "welcome").await;
    for client in [&mut ada, &mut bob] {
        let joined = is_told(client, "joined").await;
        assert_eq!(joined["people"], serde_json::json!(["Ada", "Bob"]));
    }
    bob.send_text(r#"{"type":"say","text":"Tea ☕"}"#).await;
    for client in [&mut ada, &mut bob] {
        let said = is_told(client, "said").await;
        assert_eq!((&said["name"], &said["text"]), (&"Bob".into(), &"Tea ☕".into()));
    }
    server.end().await;
}

/// Waits for a record while somebody is connected. Building takes longer than a server waits for the answer to a ping.
async fn tells(server: &mut Served, client: &mut Client, record: &str) {
    tokio::select! {
        _ = server.record_with(record) => {}
        said = client.hear() => panic!("nobody was spoken to: {said}"),
    }
}

/// While others compile, the server may ask whether somebody is still there.
async fn says_hello(client: &mut Client) -> String {
    client.send_text("hello").await;
    within("what is said", client.hear()).await
}

async fn is_told(client: &mut Client, event: &str) -> serde_json::Value {
    let told = within("what is said", client.hear()).await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["type"], event, "{told}");
    told
}

/// Both templates of one language, one after the other: they share what is compiled.
macro_rules! projects {
    ($($test:ident: $language:ident)+) => {
        $(#[tokio::test]
        async fn $test() {
            echo($language).await;
            chat($language).await;
        })+
    };
}

projects! {
    projects_in_rust_are_built_served_and_changed_as_their_readme_tells: RUST
    projects_in_javascript_are_built_served_and_changed_as_their_readme_tells: JAVASCRIPT
    projects_in_python_are_built_served_and_changed_as_their_readme_tells: PYTHON
    projects_in_c_are_built_served_and_changed_as_their_readme_tells: C
    projects_in_go_are_built_served_and_changed_as_their_readme_tells: GO
}
