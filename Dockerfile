# The control plane as an image: `docker build -t chancery .`, then `serve`, `migrate` or any other command of `chancery`.
# No embedded Postgres and no Envoy are in it. The process is not root, and writes nothing to disk.

FROM node:24-slim AS build
WORKDIR /chancery
COPY package.json package-lock.json ./
# With the optional packages: the compiler itself is one, by platform.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY proto ./proto
COPY scripts ./scripts
COPY src ./src
RUN npm run build

FROM node:24-slim AS dependencies
WORKDIR /chancery
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund && npm cache clean --force

FROM node:24-slim
ENV NODE_ENV=production \
    CHANCERY_API_ADDRESS=0.0.0.0:8080 \
    CHANCERY_XDS_ADDRESS=0.0.0.0:18000
WORKDIR /chancery
COPY --from=dependencies /chancery/node_modules ./node_modules
COPY package.json ./
COPY migrations ./migrations
COPY envoy ./envoy
COPY --from=build /chancery/dist ./dist
RUN mkdir -p /var/lib/chancery && chown node:node /var/lib/chancery
USER node
# What is served is kept here, for a start without the database: mount a volume, one per replica.
ENV CHANCERY_STATE_DIR=/var/lib/chancery
EXPOSE 8080 18000
# Node is process 1 and gets SIGTERM itself; orphans are none of its making.
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
