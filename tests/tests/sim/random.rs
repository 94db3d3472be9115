//! Random operations, with everything that can fail failing: in the end the nodes run what the API says, nothing else.

use std::time::Duration;

use serde_json::json;
use skiff_agent::podman::PodmanError;
use skiff_agent::podman::fake::Call;
use skiff_tests::sim::{DEPLOYMENTS, IMAGES, Node, Pod, World};
use skiff_tests::{poll, wait_for};

/// Operations of a run.
const STEPS: usize = 40;
/// How long a step waits at most for the cluster to settle.
const PAUSES_MS: [u64; 4] = [0, 0, 300, 1000];
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
    match (wanted.contains_key(name), dice.below(5)) {
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
        (true, 2) => return delete_pod(world, dice),
        (true, _) => world.scale(name, replicas),
    }
    wanted.insert(name, replicas);
}

/// Deletes a pod, perhaps by force; its owner makes another.
fn delete_pod(world: &World, dice: &mut Dice) {
    let pods = world.pods().unwrap();
    if !pods.is_empty() {
        let (name, grace) = (&pods[dice.below(pods.len())].name, [0, 30][dice.below(2)]);
        let path = format!("/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds={grace}");
        // It may be gone by now.
        let _ = world.api.delete(&path);
    }
}

/// Calls that Podman may refuse.
const CALLS: [Call; 8] = [
    Call::List,
    Call::Inspect,
    Call::CreatePod,
    Call::CreateContainer,
    Call::Start,
    Call::Signal,
    Call::Remove,
    Call::Events,
];

/// Something fails.
fn harm(world: &mut World, dice: &mut Dice) {
    match dice.below(10) {
        0 => {
            world.kill_hub();
            world.start_hub();
        }
        1 => {
            world.stop_hub();
            world.start_hub();
        }
        2 => crash(world, dice),
        kind => {
            let index = dice.below(world.nodes.len());
            harm_node(&mut world.nodes[index], kind, dice);
        }
    }
}

fn harm_node(node: &mut Node, kind: usize, dice: &mut Dice) {
    match kind {
        3 => {
            node.kill();
            node.start();
        }
        4 => node.reboot(),
        5 => {
            node.stop();
            node.podman.lose_everything();
            node.start();
        }
        6 => node.relay.cut(dice.below(2) == 0),
        7 => node.relay.lose(20),
        _ => {
            let message = "something is wrong".to_owned();
            node.podman.fail(CALLS[dice.below(CALLS.len())], PodmanError::Failed { code: 500, message });
        }
    }
}

fn crash(world: &World, dice: &mut Dice) {
    let pods = world.pods().unwrap();
    let bound: Vec<_> = pods.iter().filter(|pod| !pod.node.is_empty()).collect();
    if !bound.is_empty() {
        world.crash(bound[dice.below(bound.len())], 1);
    }
}

/// Both users and failures are at work.
fn run(seed: u64) {
    let mut world = World::start(2);
    let (mut dice, mut wanted) = (Dice(seed), Wanted::new());
    for _ in 0..STEPS {
        ask(&world, &mut dice, &mut wanted);
        if dice.below(3) == 0 {
            harm(&mut world, &mut dice);
        }
        pause(&world, &mut dice);
    }
    let pods = calm(&world, seed);
    assert_eq!(pods.len() as u64, wanted.values().sum::<u64>(), "seed {seed}: {wanted:?} is not {pods:#?}");
}

/// Nobody changes what is wanted, so that every pod has to outlive every failure.
fn endure(seed: u64) {
    let mut world = World::start(2);
    world.deploy(NAMES[0], 5, IMAGES[0]);
    let before = world.settle();
    let mut dice = Dice(seed);
    for _ in 0..STEPS / 2 {
        harm(&mut world, &mut dice);
        pause(&world, &mut dice);
    }
    let after = calm(&world, seed);
    let same: Vec<_> = after.iter().map(|pod| Pod { restarts: 0, ..pod.clone() }).collect();
    assert_eq!(same, before, "seed {seed}: failures alone replace no pod");
}

/// Now and then the cluster gets some way, so that operations meet every state it passes through.
fn pause(world: &World, dice: &mut Dice) {
    let _ = poll(Duration::from_millis(PAUSES_MS[dice.below(PAUSES_MS.len())]), || world.settled());
}

/// Ends all failures and waits until everything has settled.
fn calm(world: &World, seed: u64) -> Vec<Pod> {
    for node in &world.nodes {
        node.relay.cut(false);
        node.relay.lose(0);
    }
    // Long enough for a connection that died in silence, and for back-offs.
    wait_for(150, &format!("seed {seed} to settle"), || world.settled())
}

/// Each seed is a test; one that found something stays.
macro_rules! seeds {
    ($($name:ident = $run:ident($seed:literal)),+ $(,)?) => { $(#[test] fn $name() { $run($seed); })+ };
}

seeds! {
    run_1 = run(1),
    run_2 = run(2),
    run_3 = run(3),
    endure_1 = endure(1),
    endure_2 = endure(2),
    endure_3 = endure(3),
}

/// For long runs: `SKIFF_SEEDS=1000..1100 cargo nextest run -p skiff-tests --test sim --run-ignored=only`.
#[test]
#[ignore = "takes as long as it is told to"]
fn more_seeds() {
    let range = std::env::var("SKIFF_SEEDS").expect("SKIFF_SEEDS is set, e.g. to 1000..1100");
    let (first, end) = range.split_once("..").expect("SKIFF_SEEDS is a range");
    for seed in first.parse().unwrap()..end.parse().unwrap() {
        eprintln!("seed {seed}");
        run(seed);
        endure(seed);
    }
}
