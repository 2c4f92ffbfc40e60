# Kohort. "make help" lists the targets.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One set of build flags everywhere, so that images, tests and linters share one build cache.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false
export KOHORT_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/kohort

# The cluster that demo and e2e use: local (built and started here), kind, or existing with KUBECONFIG=...
CLUSTER ?= local
export CLUSTER

BIN := $(CURDIR)/bin
VERSION := 0.1.0
PACKAGES := ./...

##@ Main

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z0-9_-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: host ## Run the main job in a real cluster: a shop's events to profiles, audiences and destinations.
	@hack/demo/demo up

.PHONY: demo-down
demo-down: ## Take the demo and its cluster away.
	@hack/demo/demo down

.PHONY: test
test: host verify lint unit envtest sdk ## Run every test that needs no cluster.
	@echo "All tests passed. Next: make demo, or make e2e for the tests in a real cluster."

.PHONY: e2e
e2e: host ## Run the tests in a real cluster.
	@hack/demo/demo e2e

##@ Tests

ENVTEST := kohort.dev/kohort/controllers
SDKTEST := kohort.dev/kohort/test/sdk

.PHONY: unit
unit: chdb $(BIN)/versitygw ## Run the tests of single packages, with the real engine, stream and database where they need one.
	KUBEBUILDER_ASSETS="$$(hack/cluster/cluster tools envtest)" CHDB_LIB_PATH="$$(hack/lib/chdb.sh)" go test -timeout 15m $(shell go list ./... | grep -vx -e '$(ENVTEST)' -e '$(SDKTEST)')

.PHONY: envtest
envtest: ## Run the controllers' tests against a real API server.
	KUBEBUILDER_ASSETS="$$(hack/cluster/cluster tools envtest)" go test -timeout 15m $(ENVTEST)

.PHONY: sdk
sdk: chdb ## Run Segment's and RudderStack's SDKs, one in a browser, against a real collector, stream and warehouse.
	hack/lib/host.sh sdk
	cd test/sdk && npm ci --no-audit --no-fund --silent
	CHDB_LIB_PATH="$$(hack/lib/chdb.sh)" go test -count=1 -timeout 10m $(SDKTEST)

.PHONY: properties
properties: chdb ## Run the tests of random rules, data and failures for thousands of cases, which unit runs for hundreds.
	CHDB_LIB_PATH="$$(hack/lib/chdb.sh)" go test -count=1 -timeout 15m -run MembersEqualTheDefinition -v ./internal/audience/membership -rapid.checks=50
	CHDB_LIB_PATH="$$(hack/lib/chdb.sh)" go test -count=1 -timeout 15m -run AnyScheduleConverges -v ./internal/sync -rapid.checks=200

ROUNDS ?= 50
.PHONY: soak
soak: chdb ## Kill everything that an event passes, under load, for ROUNDS; and fill its disks. unit does so for a few.
	CHDB_LIB_PATH="$$(hack/lib/chdb.sh)" KOHORT_SOAK_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -v ./test/soak

FUZZTIME ?= 1m
.PHONY: fuzz
fuzz: ## Fuzz for FUZZTIME each: every fuzz test, or those that NAME lists.
	hack/fuzz.sh $(FUZZTIME) $(NAME)

.PHONY: bench
bench: chdb ## Measure; NAME=x measures one figure. Prints: NAME VALUE UNIT goal GOAL ok|short.
	CHDB_LIB_PATH="$$(hack/lib/chdb.sh)" hack/bench.sh $(NAME)

##@ Code

.PHONY: generate
generate: $(BIN)/controller-gen ## Generate deep copies.
	$(BIN)/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: $(BIN)/controller-gen $(BIN)/helm ## Generate CRDs, RBAC rules, the chart's copies of both, and config/default.
	rm -rf charts/kohort/files && mkdir -p charts/kohort/files/crds
	$(BIN)/controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd
	$(BIN)/controller-gen rbac:roleName=kohort-operator paths=./controllers/... output:rbac:artifacts:config=config/rbac
	cp config/crd/kohort.dev_*.yaml charts/kohort/files/crds/
	cp config/rbac/role.yaml charts/kohort/files/role.yaml
	$(BIN)/helm template kohort charts/kohort --namespace kohort-system --set crds.enabled=false > config/default/operator.yaml

.PHONY: verify
verify: generate manifests ## Fail when a generated file is not what generation gives.
	@hack/verify.sh

.PHONY: tidy
tidy: ## Tidy every go.mod. Not part of verify: it downloads the tests of every dependency, gigabytes on a fresh machine.
	for module in $$(git ls-files '*go.mod'); do (cd "$$(dirname "$$module")" && go mod tidy); done

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/helm ## Run the linters; .golangci.yml says why each is there.
	$(BIN)/golangci-lint run ./...
	$(BIN)/helm lint --quiet charts/kohort

.PHONY: build
build: ## Build every binary into bin/.
	go build -ldflags "-s -w" -o $(BIN)/ ./cmd/...

##@ Cluster and images

.PHONY: images
images: chdb ## Build the container images into out/images, without Docker.
	hack/images/images --out out/images

.PHONY: cluster-up
cluster-up: host ## Start the local cluster alone.
	@hack/cluster/cluster up

.PHONY: cluster-down
cluster-down: ## Take the local cluster away.
	@hack/cluster/cluster down

##@ Tools

.PHONY: host
host: ## Install the Debian packages that are missing.
	@hack/lib/host.sh

.PHONY: chdb
chdb: ## Fetch libchdb, the ClickHouse engine that the store loads.
	@hack/lib/chdb.sh >/dev/null

.PHONY: helm
helm: $(BIN)/helm ## Build helm into bin/.
	@echo $(BIN)/helm

# Each tool is pinned in a module of its own, so that the product's go.mod stays clean. What is told of progress goes to
# standard error, for whoever runs "make helm" reads a path.
$(BIN)/controller-gen: hack/tools/controller-gen/go.mod
	@echo "building controller-gen" >&2
	@cd hack/tools/controller-gen && go build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(BIN)/golangci-lint: hack/tools/golangci-lint/go.mod
	@echo "building golangci-lint (two minutes the first time)" >&2
	@cd hack/tools/golangci-lint && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/versitygw: hack/tools/versitygw/go.mod
	@echo "building versitygw, the S3 server of a test (a minute the first time)" >&2
	@cd hack/tools/versitygw && go build -o $@ github.com/versity/versitygw/cmd/versitygw

$(BIN)/helm: hack/tools/helm/go.mod
	@echo "building helm (a minute the first time)" >&2
	@cd hack/tools/helm && go build -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1" -o $@ helm.sh/helm/v4/cmd/helm
