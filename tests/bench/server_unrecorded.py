"""`osteon listen` that keeps no ledger: what the row of each image costs. For information; never a product mode."""

from node.entry import main
from node.registrar import Registrar

if __name__ == "__main__":
    Registrar.record = lambda _self, _stored: None
    main()
