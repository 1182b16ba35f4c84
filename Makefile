# Two commands are all a newcomer needs: `make drill` and `make test`. Both fetch etcd (3.5.10 or
# newer) and protoc into target/tools if the machine has none; nothing outside target/ is changed.
# `make install` puts the program in place, under its new name and its old one.

export PROTOC ?= $(shell command -v protoc || echo $(CURDIR)/target/tools/protoc/bin/protoc)
export REQUORUM_ETCD_DIR ?= $(CURDIR)/target/tools/etcd/bin

.PHONY: drill test tools build fmt install

# Loses a majority of a real cluster with its disks and watches it come back.
drill: build
	target/debug/drill quorum-lost

# All that continuous integration runs.
test: tools
	.ci/tools-moto
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked
	@for name in $(DRILLS); do target/debug/drill $$name || exit 1; done

DRILLS = quorum-lost one-member-lost all-disks-lost

build: tools
	cargo build --workspace --bins --locked

tools:
	.ci/tools

PREFIX ?= /opt

install: tools
	cargo build --release --locked -p requorum
	install -D target/release/requorum $(DESTDIR)$(PREFIX)/bin/requorum
	ln -sf requorum $(DESTDIR)$(PREFIX)/bin/etcdadm

fmt:
	cargo fmt --all
