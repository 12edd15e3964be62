use revoada_core::genesis::Genesis;

fn forget(genesis: &mut Genesis) {
    genesis.founders.clear();
}

fn main() {}
