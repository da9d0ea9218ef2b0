# Build: the compiler and its types stay behind in this stage.
FROM node:26-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts ./scripts
COPY src ./src
RUN npm run build
# node_modules is read-only when the gateway runs: the embedded PostgreSQL's library links are made now.
RUN npm prune --omit=dev --ignore-scripts \
 && node -e "require('./dist/platform/store/embedded').ensureLibraryLinks()"

FROM node:26-bookworm-slim
ENV NODE_ENV=production M2M_DATA_DIR=/data M2M_OPS_LISTEN=127.0.0.1:7751
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY --from=build /app/scripts/sql ./scripts/sql
RUN mkdir /data && chown node:node /data && chmod 700 /data && ln -s /app/dist/cli/main.js /usr/local/bin/m2m
USER node
VOLUME /data
EXPOSE 7750
# Not /readyz: while the database is away the sessions stand, and an orchestrator that replaces the container would end them.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:7751/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# node is process 1 and gets SIGTERM itself.
STOPSIGNAL SIGTERM
CMD ["node", "dist/cli/main.js", "serve"]
