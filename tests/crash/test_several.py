"""What only several processes meet: a lease that ran out, wrong clocks, a database that restarts, two of a kind."""

from tests.crash.clocks import skew_clocks
from tests.crash.frozen import freeze_past_lease
from tests.crash.installations import Cluster
from tests.crash.kills import restart_postgres, route_twins
from tests.crash.scene import Drained, Scene


def assert_exact(drained: Drained) -> None:
    """Each user holds just what was planted."""
    assert drained.accounting.exact, str(drained.accounting)


def test_a_fetcher_frozen_past_its_lease_deletes_nothing_undelivered(cluster_scene: Scene) -> None:
    """It stands between DELE and QUIT while another takes the mailbox over and more mail comes; then it goes on."""
    assert_exact(freeze_past_lease(cluster_scene, "fetcher.after_dele:1", until_drained=False))


def test_wrong_clocks_change_no_lease_and_no_retry(cluster_scene: Scene) -> None:
    """Each worker's is an hour wrong in one direction, and then in the other: the database's clock decides."""
    assert_exact(skew_clocks(cluster_scene))


def test_postgresql_restarted(cluster: Cluster, cluster_scene: Scene) -> None:
    """Connections are cut amid commits; what was not committed is written again."""
    assert_exact(restart_postgres(cluster, cluster_scene))


def test_two_routers_agree_on_one_copy(cluster: Cluster, cluster_scene: Scene) -> None:
    """Of two mails that are one copy, each router has one: one delivery a recipient, and both mails are deleted."""
    assert_exact(route_twins(cluster, cluster_scene))
