"""What the tests of local/ share."""

from tests.local.kafka_fixtures import kafka as kafka
