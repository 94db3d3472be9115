//! Random operations, with everything that can fail failing: in the end the nodes run what the API says, nothing else.

use serde_json::json;
use skiff_tests::sim::{DEPLOYMENTS, IMAGES, World};

/// Operations of a run.
const STEPS: usize = 40;
/// Names of Deployments.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A run's dice (SplitMix64): the same seed gives the same operations.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

/// What is to be there: replicas by Deployment.
type Wanted = std::collections::BTreeMap<&'static str, u64>;

/// A change of what users want.
fn ask(world: &World, dice: &mut Dice, wanted: &mut Wanted) {
    let name = NAMES[dice.below(NAMES.len())];
    let (replicas, image) = (dice.below(5) as u64, IMAGES[dice.below(2)]);
    match (wanted.contains_key(name), dice.below(4)) {
        (false, _) => world.deploy(name, replicas, image),
        (true, 0) => {
            world.api.delete(&format!("{DEPLOYMENTS}/{name}")).unwrap();
            wanted.remove(name);
            return;
        }
        (true, 1) => {
            let template = json!({"spec": {"containers": [{"name": "main", "image": image}]}});
            world.change(name, &json!({"replicas": replicas, "template": template}));
        }
        (true, _) => world.scale(name, replicas),
    }
    wanted.insert(name, replicas);
}

/// Something fails.
fn harm(world: &mut World, dice: &mut Dice) {
    let index = dice.below(world.nodes.len());
    match dice.below(7) {
        0 => {
            world.nodes[index].kill();
            world.nodes[index].start();
        }
        1 => world.nodes[index].reboot(),
        2 => {
            world.nodes[index].stop();
            world.nodes[index].podman.lose_everything();
            world.nodes[index].start();
        }
        3 => world.nodes[index].relay.cut(dice.below(2) == 0),
        4 => {
            world.stop_hub();
            world.start_hub();
        }
        5 => world.nodes[index].relay.lose(20),
        _ => {
            let pods = world.pods().unwrap();
            let bound: Vec<_> = pods.iter().filter(|pod| !pod.node.is_empty()).collect();
            if !bound.is_empty() {
                world.crash(bound[dice.below(bound.len())], 1);
            }
        }
    }
}

fn run(seed: u64) {
    let mut world = World::start(2);
    let (mut dice, mut wanted) = (Dice(seed), Wanted::new());
    for _ in 0..STEPS {
        ask(&world, &mut dice, &mut wanted);
        if dice.below(3) == 0 {
            harm(&mut world, &mut dice);
        }
    }
    for node in &world.nodes {
        node.relay.cut(false);
        node.relay.lose(0);
    }
    // Long enough for a connection that died in silence, and for back-offs.
    let pods = skiff_tests::wait_for(150, &format!("seed {seed} to settle"), || world.settled());
    assert_eq!(pods.len() as u64, wanted.values().sum::<u64>(), "seed {seed}: {wanted:?} is not {pods:#?}");
}

/// Each seed is a test; one that found something stays.
macro_rules! seeds {
    ($($name:ident = $seed:literal),+) => { $(#[test] fn $name() { run($seed); })+ };
}

seeds!(seed_1 = 1, seed_2 = 2, seed_3 = 3, seed_4 = 4);
