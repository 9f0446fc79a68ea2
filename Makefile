# Porthole's build, tests and demo. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# What is downloaded or takes long to build is kept outside the tree, by content.
export PORTHOLE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/porthole
export PATH := /usr/lib/go-1.23/bin:$(PATH):/usr/local/go/bin
export CGO_ENABLED ?= 0

OUT := $(CURDIR)/out
BIN := $(OUT)/bin
KERNEL ?= debian
# What porthole and porthole-agent call themselves: a semantic version, as the kubelet
# reads it.
VERSION := $(shell cat VERSION)
# Go records it too, but not where GOFLAGS or a missing .git keep it from that.
REVISION := $(shell git rev-parse HEAD 2>/dev/null)$(shell git diff --quiet HEAD 2>/dev/null || echo ' with changes')
LDFLAGS := -s -w -X main.version=$(VERSION) -X 'main.revision=$(REVISION)'
GOBUILD := go build -trimpath -ldflags "$(LDFLAGS)"
SUITE := scripts/suite.sh
# Packages whose tests make links or VMs: each runs in namespaces of its own.
HOSTBOUND := /(network|sandbox/qemuvm|sandbox/shim|guest|share|internal/fusemount)(/|$$)
STATICCHECK := go tool -modfile=tools/go.mod staticcheck

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: run
run: ## set up, start the server with a sample image, drive a pod through crictl (KEEP=1 leaves it running)
	@export PORTHOLE_STEPS=$$(mktemp); trap 'rm -f $$PORTHOLE_STEPS' EXIT; \
	scripts/step.sh "install what is missing" scripts/setup.sh run; \
	scripts/step.sh "build porthole and its agent" $(MAKE) --no-print-directory build; \
	scripts/step.sh "build the guest: kernel and initrd" $(MAKE) --no-print-directory guest; \
	scripts/step.sh "build crictl" $(MAKE) --no-print-directory tools; \
	$(BIN)/demo run $(if $(KEEP),-keep) -bin $(BIN) -guest $(OUT)/guest-$(KERNEL) -cache $(PORTHOLE_CACHE)

.PHONY: stop
stop: ## end what `make run KEEP=1` left running, with its pods
	@$(BIN)/demo stop -bin $(BIN)

.PHONY: build
build: ## build porthole, porthole-agent and the demo into out/bin
	@mkdir -p $(BIN)
	@$(GOBUILD) -o $(BIN)/ ./cmd/porthole ./cmd/porthole-agent ./test/demo

.PHONY: guest
guest: build ## build the guest bundle into out/guest-KERNEL (KERNEL=debian or small)
	@go run ./guest/image/mkguest --out $(OUT)/guest-$(KERNEL) --cache $(PORTHOLE_CACHE)/guest --agent $(BIN)/porthole-agent --kernel $(KERNEL)

CRICTLFLAGS := -s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=v1.36.0

.PHONY: tools
tools: ## build crictl, at the version that test/e2e pins
	@mkdir -p $(BIN)
	@cd test/e2e && go build -trimpath -ldflags "$(CRICTLFLAGS)" -o $(BIN)/crictl sigs.k8s.io/cri-tools/cmd/crictl

.PHONY: install
install: build guest ## install porthole, guest, systemd unit and missing configuration (DESTDIR= is honoured)
	@scripts/install.sh $(BIN) $(OUT)/guest-$(KERNEL)

.PHONY: dist
dist: guest ## a zip for Windows and a tar.gz for Linux in out/dist, the same bytes each time (SIGN=PROGRAM is run with the folder of each before it is packed)
	@OUT=$(OUT) VERSION=$(VERSION) GUEST=$(OUT)/guest-$(KERNEL) LDFLAGS="$(LDFLAGS)" SIGN="$(SIGN)" scripts/dist.sh

.PHONY: lint
lint: ## formatting, vet for Linux and Windows, staticcheck, generated code, the rules of test/policy
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }
	@go vet ./...
	@cd test/e2e && go vet ./...
	@cd test/manifests && go vet ./...
	@GOOS=windows go build ./... && GOOS=windows go vet ./...
	@$(STATICCHECK) ./...
	@go mod tidy -diff
	@scripts/generate.sh --check
	@scripts/powershell.sh
	@go test -count=1 ./test/policy

.PHONY: unit
unit: ## unit tests with the race detector
	@export CGO_ENABLED=1 PORTHOLE_GUEST=$(OUT)/guest-$(KERNEL); \
	go test -race -timeout 8m $$(go list ./... | grep -vE '$(HOSTBOUND)'); \
	go test -race -timeout 8m -exec $(CURDIR)/scripts/netns.sh $$(go list ./... | grep -E '$(HOSTBOUND)'); \
	cd test/manifests && CGO_ENABLED=0 go test -timeout 4m ./...

.PHONY: fetch-e2e
fetch-e2e:
	@cd test/e2e && PORTHOLE_E2E=fetch go test -count=1 .

E2E_TIMEOUT ?= 14m
.PHONY: e2e
e2e: fetch-e2e ## the end-to-end suite in real VMs, in a network namespace of its own
	@scripts/netns.sh env PORTHOLE_BIN=$(BIN) PORTHOLE_GUEST=$(OUT)/guest-$(KERNEL) bash -c 'cd test/e2e && go test -count=1 -timeout $(E2E_TIMEOUT) ./...'

.PHONY: posix
posix: build guest tools fetch-e2e ## the POSIX card: named checks and random operations on each backend of shares, and in a VM (POSIX="-systems ntfs -only rename"; docs/posix.md)
	@mkdir -p $(BIN)
	@$(GOBUILD) -o $(BIN)/posix ./test/posix
	@$(BIN)/posix $(POSIX)
	@go test -count=1 -timeout 5m ./test/posix
	@scripts/netns.sh env PORTHOLE_BIN=$(BIN) PORTHOLE_GUEST=$(OUT)/guest-$(KERNEL) bash -c 'set -o pipefail; cd test/e2e && go test -count=1 -timeout 9m -v -run TestPOSIX . | grep -vE "^(=== |[{])"'

.PHONY: critest
critest: build guest ## the suite for CRI runtimes, over SPDY, and what it streams over WebSocket as well (CRITEST="-focus RE -parallel 4", BENCHMARK=1; docs/conformance.md)
	@scripts/setup.sh test
	@cd test/e2e && go test -c -o $(BIN)/critest sigs.k8s.io/cri-tools/cmd/critest && go build -o $(BIN)/ginkgo github.com/onsi/ginkgo/v2/ginkgo
	@$(GOBUILD) -o $(BIN)/nnp ./test/critest/nnp
	@$(GOBUILD) -o $(BIN)/critrun ./test/critest
	@$(BIN)/critrun -fetch -cache $(PORTHOLE_CACHE)
	@run="scripts/netns.sh $(BIN)/critrun -bin $(BIN) -guest $(OUT)/guest-$(KERNEL) -cache $(PORTHOLE_CACHE)"; \
	if [ -n "$(BENCHMARK)" ]; then exec $$run -benchmark $(CRITEST); fi; \
	$$run -transport spdy $(CRITEST) && $$run -transport websocket $(if $(LONG),,-focus Streaming) $(CRITEST)

.PHONY: node
node: build guest ## a Kubernetes node on this machine with porthole as its runtime, until Ctrl-C (out/bin/node-kubectl talks to it)
	@scripts/setup.sh test
	@$(GOBUILD) -o $(BIN)/ ./test/node ./test/node/probe
	@BIN=$(BIN) GUEST=$(OUT)/guest-$(KERNEL) scripts/node.sh start

.PHONY: node-stop
node-stop: ## end what `make node` started
	@BIN=$(BIN) scripts/node.sh stop

.PHONY: test-node
test-node: build guest ## workloads on a Kubernetes node, through kubectl (NODE="-test.run Streams"; docs/conformance.md)
	@scripts/setup.sh test
	@$(GOBUILD) -o $(BIN)/ ./test/node ./test/node/probe
	@go test -c -o $(BIN)/node.test ./test/node
	@$(BIN)/node -fetch -cache $(PORTHOLE_CACHE)
	@kube=$$(scripts/kube.sh linux); \
	cd test/node && ../../scripts/netns.sh env PORTHOLE_KUBE=$$kube PORTHOLE_BIN=$(BIN) PORTHOLE_GUEST=$(OUT)/guest-$(KERNEL) $(BIN)/node.test -test.v -test.count=1 -test.timeout=15m -test.parallel=6 $(NODE)

.PHONY: test-winkubelet
test-winkubelet: build guest ## a Windows kubelet, under Wine, as a node of that cluster (docs/windows-kubelet.md)
	@scripts/setup.sh test && scripts/setup.sh wine
	@$(GOBUILD) -o $(BIN)/ ./test/node ./test/node/probe
	@GOOS=windows $(GOBUILD) -o $(BIN)/ ./test/node/podsrelay
	@go test -c -o $(BIN)/node.test ./test/node
	@$(BIN)/node -fetch -cache $(PORTHOLE_CACHE)
	@kube=$$(scripts/kube.sh linux); windows=$$(scripts/kube.sh windows); \
	cd test/node && ../../scripts/netns.sh env PORTHOLE_KUBE=$$kube PORTHOLE_KUBE_WINDOWS=$$windows PORTHOLE_BIN=$(BIN) PORTHOLE_GUEST=$(OUT)/guest-$(KERNEL) $(BIN)/node.test -test.v -test.count=1 -test.timeout=10m -test.run '^TestWindows$$' $(NODE)

.PHONY: test-apps
test-apps: build guest ## databases, RabbitMQ, WordPress and others on shares, killed under load (RUN=pattern; LANE=mount: no VMs)
	@scripts/setup.sh test
	@PORTHOLE_APPS=fetch go test -count=1 -timeout 30m ./test/apps
	@scripts/netns.sh env PORTHOLE_APPS=$(or $(LANE),pod) PORTHOLE_BIN=$(BIN) PORTHOLE_GUEST=$(OUT)/guest-$(KERNEL) go test -v -count=1 -timeout 25m -run '$(RUN)' ./test/apps

# Packages whose tests run under Wine too, as far as they do (test/wine/units_linux_test.go).
WINEUNITS := cmd/porthole cmd/porthole/writers cri/endpoint image $(addprefix internal/,appendfile atomicfile busyfile etw filelock filesum hcs localsock offspring privatedir rotatelog winowner winsvc) \
	network/hcnnet sandbox sandbox/shim share/arbiter streaming/crilog

.PHONY: test-wine
test-wine: ## porthole.exe under Wine: the daemon on a named pipe, images, the service, and the unit tests of Windows' own code (docs/windows.md)
	@scripts/setup.sh wine
	@mkdir -p $(OUT)/windows
	@GOOS=windows $(GOBUILD) -o $(OUT)/windows/ ./cmd/porthole ./test/wine/winclient
	@cd test/e2e && GOOS=windows go build -trimpath -ldflags "$(CRICTLFLAGS)" -o $(OUT)/windows/crictl.exe sigs.k8s.io/cri-tools/cmd/crictl
	@for p in $(WINEUNITS); do GOOS=windows go test -c -o $(OUT)/windows/$$(basename $$p).test.exe ./$$p; done
	@PORTHOLE_WINE=$(OUT)/windows go test -count=1 -timeout 8m -v -run '$(RUN)' ./test/wine

.PHONY: test-hcsemu
test-hcsemu: build guest tools fetch-e2e ## porthole.exe under Wine runs pods for real, on an emulator of Hyper-V: the VM driver's suite, then the end-to-end suite (SUBSET=1: what CI runs of it; RUN=pattern; docs/testing.md)
	@scripts/setup.sh hcsemu
	@mkdir -p $(OUT)/windows/cni
	@GOOS=windows $(GOBUILD) -o $(OUT)/windows/ ./cmd/porthole
	@cd test/e2e && GOOS=windows go build -trimpath -ldflags "$(CRICTLFLAGS)" -o $(OUT)/windows/crictl.exe sigs.k8s.io/cri-tools/cmd/crictl
	@cd test/hcsemu/plugins && GOOS=windows go build -trimpath -o $(OUT)/windows/cni/ github.com/containernetworking/plugins/plugins/main/windows/win-bridge github.com/containernetworking/plugins/plugins/ipam/host-local
	@export PORTHOLE_TEST_STRICT=1 PORTHOLE_GUEST=$(OUT)/guest-$(KERNEL) PORTHOLE_BIN=$(BIN); \
	PORTHOLE_HCSEMU=1 scripts/netns.sh go test -count=1 -timeout 8m ./test/hcsemu/...; \
	PORTHOLE_E2E_WINDOWS=$(OUT)/windows PORTHOLE_E2E_SUBSET=$(SUBSET) scripts/netns.sh bash -c 'set -o pipefail; cd test/e2e && go test -count=1 -timeout 50m -v -run "$(RUN)" . | grep --line-buffered -vE "^(=== |[{])"'

.PHONY: test
test: ## everything that must pass: lint, unit, end-to-end, the Windows build (20 minutes at most)
	@scripts/test.sh

.PHONY: ci
ci: test ## what CI runs: test, then the lanes with budgets
	@$(SUITE) demo 300 $(MAKE) --no-print-directory run
	@$(SUITE) posix 300 $(MAKE) --no-print-directory posix
	@$(SUITE) applications 900 $(MAKE) --no-print-directory test-apps
	@$(SUITE) critest 900 $(MAKE) --no-print-directory critest
	@$(SUITE) node 1200 $(MAKE) --no-print-directory test-node
	@$(SUITE) windows-kubelet 900 $(MAKE) --no-print-directory test-winkubelet
	@$(SUITE) wine 480 $(MAKE) --no-print-directory test-wine
	@$(SUITE) hcsemu 600 $(MAKE) --no-print-directory test-hcsemu SUBSET=1

.PHONY: test-long
test-long: ## what takes too long for each run: 50 boots under load, the small kernel, long fuzzing (docs/testing.md)
	@scripts/setup.sh test
	@scripts/test-long.sh

.PHONY: bench
bench: ## figures next to containerd and runc on this machine, and with 500 pods, in one run (BENCH="-n 20 -write docs/performance.md")
	@scripts/setup.sh bench
	@$(MAKE) --no-print-directory build guest
	@$(GOBUILD) -o $(BIN)/ ./test/bench
	@$(BIN)/bench -fetch -cache $(PORTHOLE_CACHE)
	@scripts/netns.sh $(BIN)/bench -bin $(BIN) -guest $(OUT)/guest-$(KERNEL) -cache $(PORTHOLE_CACHE) $(BENCH)
	@$(BIN)/bench -fleet -bin $(BIN) $(BENCH)

.PHONY: bench-fleet
bench-fleet: build ## the second half of bench alone: list and status calls, and memory, with 500 pods that have no VM
	@$(GOBUILD) -o $(BIN)/ ./test/bench
	@$(BIN)/bench -fleet -bin $(BIN) $(BENCH)

.PHONY: bench-density
bench-density: ## many idle pods: what each holds and uses, until a memory budget is used (BENCH="-budget 4 -max-pods 60 -write docs/performance.md")
	@scripts/setup.sh bench
	@$(MAKE) --no-print-directory build guest
	@$(GOBUILD) -o $(BIN)/ ./test/bench
	@$(BIN)/bench -density -fetch -cache $(PORTHOLE_CACHE)
	@scripts/netns.sh $(BIN)/bench -density -bin $(BIN) -guest $(OUT)/guest-$(KERNEL) -cache $(PORTHOLE_CACHE) $(BENCH)

.PHONY: bench-share
bench-share: ## host folders in a VM against the pod's own disk and, with KERNEL=small, 9P (BENCH="-n 5 -write docs/performance.md")
	@scripts/setup.sh bench
	@$(MAKE) --no-print-directory build guest
	@$(GOBUILD) -o $(BIN)/ ./test/bench ./test/bench/shareload
	@$(BIN)/bench -share -fetch -cache $(PORTHOLE_CACHE)
	@scripts/netns.sh $(BIN)/bench -share -n 3 -bin $(BIN) -guest $(OUT)/guest-$(KERNEL) -cache $(PORTHOLE_CACHE) $(BENCH)

.PHONY: generate
generate: ## make generated code anew (needs protoc)
	@scripts/generate.sh
