"""CloudEvents as the real KafkaSource and KafkaSink write and read them."""
