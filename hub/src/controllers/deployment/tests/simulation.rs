//! Rollouts with random sizes, limits and speeds: they stay within their limits at every moment, and they end.

use proptest::prelude::*;

use super::*;
use crate::controllers::replicaset::ReplicaSets;

/// A world with both controllers, pods that become ready in their own time, and pods that take their time to go.
struct Cluster {
    world: World,
    deployments: Deployments,
    sets: ReplicaSets,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Deployment,
    Sets,
    OnePodBecomesReady,
    OnePodGoes,
    TimePasses,
}

impl Cluster {
    fn new(replicas: i64, surge: &Value, unavailable: &Value) -> Self {
        let mut world = World::of(WEB);
        world.edit(&web(), |d| {
            d["spec"]["replicas"] = json!(replicas);
            d["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        });
        Self { world, deployments: controller(), sets: ReplicaSets::new(Arc::new(Memo::new(1000))) }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deployment => {
                self.world.step(&self.deployments, &web());
            }
            Step::Sets => {
                for key in self.sets.all(&self.world.snapshot()) {
                    self.world.step(&self.sets, &key);
                }
            }
            Step::OnePodBecomesReady => self.one_becomes_ready(),
            Step::OnePodGoes => {
                if let Some((key, _)) =
                    self.pods().into_iter().find(|(_, p)| !p["metadata"]["deletionTimestamp"].is_null())
                {
                    self.world.remove(&key);
                }
            }
            Step::TimePasses => self.world.wait(1),
        }
    }

    fn pods(&self) -> Vec<(Key, Value)> {
        self.world.snapshot().list(&"pods".into(), None).map(|o| (o.key.clone(), o.parse().unwrap())).collect()
    }

    fn one_becomes_ready(&mut self) {
        let Some((key, _)) = self
            .pods()
            .into_iter()
            .find(|(_, p)| p["status"].is_null() && p["metadata"]["deletionTimestamp"].is_null())
        else {
            return;
        };
        let now = self.world.now.to_string();
        self.world.edit(&key, |p| {
            p["spec"]["nodeName"] = "a".into();
            p["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]});
        });
    }

    /// Pods that are neither ended nor on their way out: all of them, and the available ones.
    fn counts(&self) -> (i64, i64) {
        let active: Vec<_> =
            self.pods().into_iter().filter(|(_, p)| p["metadata"]["deletionTimestamp"].is_null()).collect();
        let ready = active.iter().filter(|(_, p)| !p["status"].is_null()).count();
        (i64::try_from(active.len()).unwrap(), i64::try_from(ready).unwrap())
    }

    /// Lets everything happen until nothing does.
    fn finish(&mut self) {
        for _ in 0..400 {
            let before = self.world.snapshot().revision();
            for step in [Step::Deployment, Step::Sets, Step::OnePodBecomesReady, Step::OnePodGoes] {
                self.step(step);
            }
            if self.world.snapshot().revision() == before {
                return;
            }
            self.world.wait(1);
        }
        panic!("the rollout does not end: {:?}", self.world.get(&web()));
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Deployment), 3 => Just(Step::Sets), 3 => Just(Step::OnePodBecomesReady),
        2 => Just(Step::OnePodGoes), 1 => Just(Step::TimePasses),
    ];
    prop::collection::vec(step, 0..120)
}

fn limit() -> impl Strategy<Value = Value> {
    prop_oneof![(0..4_i64).prop_map(|n| json!(n)), (0..101_i64).prop_map(|p| json!(format!("{p}%")))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_rolling_update_stays_within_its_limits_and_ends(
        replicas in 1..9_i64, surge in limit(), unavailable in limit(), steps in steps(),
    ) {
        let mut cluster = Cluster::new(replicas, &surge, &unavailable);
        cluster.finish();
        prop_assert_eq!(cluster.counts(), (replicas, replicas));
        set_image(&mut cluster.world, "web:2");
        let of = |v: &Value| serde_json::from_value(v.clone()).unwrap();
        let posts = arithmetic::Fenceposts::resolve(&of(&surge), &of(&unavailable), replicas);
        let (most, least) = (replicas + posts.surge, replicas - posts.max_unavailable(replicas));
        for step in steps {
            cluster.step(step);
            let (all, available) = cluster.counts();
            prop_assert!(all <= most, "{} pods, {} allowed, after {:?}", all, most, step);
            prop_assert!(available >= least, "{} available, {} wanted, after {:?}", available, least, step);
        }
        cluster.finish();
        prop_assert_eq!(cluster.counts(), (replicas, replicas));
        prop_assert!(cluster.pods().iter().all(|(_, p)| p["spec"]["containers"][0]["image"] == "web:2"));
    }
}
