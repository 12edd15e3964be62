use revoada_core::declaration::ClusterDeclaration;

fn shrink(declaration: &mut ClusterDeclaration) {
    declaration.strategy().consensus.size = 2;
}

fn main() {}
