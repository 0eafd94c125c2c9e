//! What the controller decides, as text: `testdata/*.txt`; the commands are those of `World::run`.

use crate::world::World;

#[test]
fn scenarios() {
    ottla_scenario::play_all(env!("CARGO_MANIFEST_DIR"), || {
        let mut world = World::default();
        move |command| world.run(command)
    });
}
