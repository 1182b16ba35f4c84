# Two commands are all a newcomer needs: `make drill` and `make test`. Both fetch etcd (3.5.10 or
# newer) and protoc into target/tools if the machine has none; nothing outside target/ is changed.
# `make install` puts the program in place, under its new name and its old one.

export PROTOC ?= $(shell command -v protoc || echo $(CURDIR)/target/tools/protoc/bin/protoc)
export REQUORUM_ETCD_DIR ?= $(CURDIR)/target/tools/etcd/bin

.PHONY: drill drill-hosts test prove proof bench-snapshots tools build fmt install install-systemd

# Loses a majority of a real cluster with its disks and watches it come back.
drill: build
	target/debug/drill quorum-lost

# The same on hosts with a real systemd: what the old documentation promised, and what befalls hosts. Needs root.
drill-hosts: build
	REQUORUM_HOSTS_REQUIRED=1 .ci/drill-hosts

# All that continuous integration runs.
test: tools
	.ci/tools-moto
	.ci/tools-deploy
	test -e target/tools/deploy/absent || target/tools/deploy/bin/python3 -B deploy/check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo check --workspace --locked $(RELEASED)
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked
	@for name in $(DRILLS); do target/debug/drill $$name || exit 1; done
	.ci/drill-hosts
	$(MAKE) proof
	target/proof/simulate --seeds 100
	target/proof/simulate --seeds 40 --production --members 3
	target/proof/explore --members 3 --faults all
	target/proof/explore --mutants

# Our own crates as a release has them, without the core's hooks for explorers.
RELEASED = --config profile.dev.package.protocol.debug-assertions=false \
	--config profile.dev.package.simulations.debug-assertions=false

# The whole proof: every sub-model at three, four and five seats, every mutant, many seeds of the core
# with both kinds of windows and of the agent around it, and the same models in a second engine.
prove: tools proof
	target/proof/explore --members 3 --faults all
	target/proof/explore --members 4 --faults all --bound 40000
	target/proof/explore --members 5 --faults all --bound 40000
	target/proof/explore --mutants
	cargo run --locked --profile proof -p simulations --no-default-features --features stateright --bin explore -- --stateright --bound 120000
	ASYNC_SEEDS=400 cargo test --workspace --locked --test async_agent
	target/proof/simulate --seeds 1000 --production --members 3
	target/proof/simulate --seeds 2000

# Explorer and simulator, optimised, with everything that asserts.
proof:
	cargo build --locked --profile proof -p simulations --no-default-features --bins

# What a snapshot costs, beside the stream alone; a release build, on a machine that does nothing else.
bench-snapshots: tools
	cargo run --release --locked -p simulations --bin bench-snapshots

DRILLS = quorum-lost one-member-lost all-disks-lost snapshots

build: tools
	cargo build --workspace --bins --locked

tools:
	.ci/tools

PREFIX ?= /opt

install: tools
	cargo build --release --locked -p requorum
	install -D target/release/requorum $(DESTDIR)$(PREFIX)/bin/requorum
	ln -sf requorum $(DESTDIR)$(PREFIX)/bin/etcdadm

# The units, for hosts where systemd runs etcd.
UNITS = $(DESTDIR)/etc/systemd/system

install-systemd:
	install -d $(UNITS)/etcd-member.service.d $(DESTDIR)/etc/tmpfiles.d $(DESTDIR)/etc/sysusers.d
	install -m 644 deploy/systemd/*.service deploy/systemd/*.timer $(UNITS)/
	install -m 644 deploy/systemd/etcd-member.service.d/10-requorum.conf $(UNITS)/etcd-member.service.d/
	install -m 644 deploy/systemd/requorum.tmpfiles.conf $(DESTDIR)/etc/tmpfiles.d/requorum.conf
	install -m 644 deploy/systemd/requorum.sysusers.conf $(DESTDIR)/etc/sysusers.d/requorum.conf
	test -n "$(DESTDIR)" || { systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload; }

fmt:
	cargo fmt --all
