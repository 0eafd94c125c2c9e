//! Runs `testdata/*.txt`: blocks of commands, `----`, what they must print, an empty line. `#` starts a comment.
//! `UPDATE_EXPECT=1` rewrites what was printed; read the difference before you commit it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::world::World;

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let mut world = World::default();
    let mut printed = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(printed, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut output = world.run(line);
        for command in lines.by_ref() {
            writeln!(printed, "{command}").unwrap();
            if command == "----" {
                break;
            }
            output += &world.run(command);
        }
        printed += if output.is_empty() { "nothing\n" } else { &output };
        while lines.next_if(|line| !line.is_empty()).is_some() {}
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, printed).unwrap();
    } else {
        let difference = text.lines().zip(printed.lines()).find(|(expected, got)| expected != got);
        assert_eq!(text, printed, "{name}: first difference: {difference:#?}");
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name)) })*

        #[test]
        fn every_file_is_run() {
            let run = [$(stringify!($name)),*];
            for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")).unwrap() {
                let path = entry.unwrap().path();
                assert!(run.contains(&path.file_stem().unwrap().to_str().unwrap()), "{path:?} is not run");
            }
        }
    };
}

scenarios! {
    registration
    fencing
    controlled_shutdown
    eligible_leaders
    unclean_elections
    preferred_leaders
    reassignment
    directories
    leaders_reports
    takeover
    placement
    features
}
