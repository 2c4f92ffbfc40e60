# syntax=docker/dockerfile:1
# The images of Kohort, for those who build with Docker or BuildKit. hack/images builds the same without either:
# that is what "make demo" and the tests use.
#
#   docker build --target kohort           -t kohort.dev/kohort:0.1.0 .
#   docker build --target kohort-connector -t kohort.dev/kohort-connector:0.1.0 .
#   docker build --target kohort-store     -t kohort.dev/kohort-store:0.1.0 .

FROM golang:1.26-bookworm AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY api api
COPY cmd cmd
COPY controllers controllers
COPY internal internal
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -ldflags "-s -w" -o /out/ ./cmd/...

# libchdb comes from the npm registry; its checksum is verified by the same script that the tests use.
FROM node:20-bookworm-slim AS chdb
COPY hack/lib hack/lib
RUN KOHORT_CACHE=/cache hack/lib/chdb.sh && mkdir -p /out && cp /cache/chdb/*/libchdb.so /out/

FROM gcr.io/distroless/static-debian12:nonroot AS kohort
COPY --from=build /out/operator /out/worker /out/kohort /usr/local/bin/
USER 65532:65532

FROM gcr.io/distroless/static-debian12:nonroot AS kohort-connector
COPY --from=build /out/connector /usr/local/bin/
USER 65532:65532

FROM gcr.io/distroless/base-debian12:nonroot AS kohort-store
COPY --from=chdb /out/libchdb.so /usr/lib/kohort/libchdb.so
COPY --from=build /out/store /usr/local/bin/
USER 65532:65532
