/**
 * An esbuild plugin for programs that have to start fast: descriptors of generated protobuf
 * messages are made when they are asked for.
 *
 * Generated modules decode the description of a whole .proto file when they are loaded, which takes
 * longer than the call a tool makes. Under this plugin they get objects that do so at the first
 * look. Of what a descriptor is they hide nothing but its identity, which nobody compares.
 */

const NAMESPACE = "lazy-descriptors";

const SOURCE = `
const library = () => require("@bufbuild/protobuf/codegenv2");

function lazy(make) {
  let made;
  const value = () => (made ??= make());
  return new Proxy(Object.create(null), {
    get: (_, name) => Reflect.get(value(), name),
    has: (_, name) => Reflect.has(value(), name),
    ownKeys: () => Reflect.ownKeys(value()),
    getOwnPropertyDescriptor(_, name) {
      const found = Reflect.getOwnPropertyDescriptor(value(), name);
      return found && { ...found, configurable: true };
    },
  });
}

export const fileDesc = (...words) => lazy(() => library().fileDesc(...words));
export const messageDesc = (...words) => lazy(() => library().messageDesc(...words));
export const enumDesc = (...words) => lazy(() => library().enumDesc(...words));
export const extDesc = (...words) => lazy(() => library().extDesc(...words));
export const serviceDesc = (...words) => lazy(() => library().serviceDesc(...words));

const known = () => require("@bufbuild/protobuf/wkt");
export const file_google_protobuf_any = lazy(() => known().file_google_protobuf_any);
export const file_google_protobuf_descriptor = lazy(() => known().file_google_protobuf_descriptor);
`;

export function lazyDescriptors(root) {
  return {
    name: NAMESPACE,
    setup(build) {
      const filter = /^@bufbuild\/protobuf\/(codegenv2|wkt)$/;
      build.onResolve({ filter }, ({ importer, path, pluginData }) => {
        if (pluginData === NAMESPACE || !/_pb\.ts$/.test(importer)) return undefined;
        return { path, namespace: NAMESPACE };
      });
      build.onLoad({ filter: /.*/, namespace: NAMESPACE }, () => ({
        contents: SOURCE,
        resolveDir: root,
        pluginData: NAMESPACE,
      }));
    },
  };
}
