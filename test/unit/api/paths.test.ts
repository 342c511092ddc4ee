// Which methods a path takes.
import { expect, test } from "vitest";
import { Paths } from "../../../src/api/paths.js";

const paths = new Paths();
paths.add("/v1/routes", ["GET", "HEAD"]);
paths.add("/v1/routes", "POST");
paths.add("/v1/routes/:name", "GET");
paths.add("/v1/routes/:name/weights", "PUT");

test.each([
  ["/v1/routes", ["GET", "HEAD", "POST"]],
  ["/v1/routes?limit=1", ["GET", "HEAD", "POST"]],
  ["/v1/routes/checkout", ["GET"]],
  ["/v1/routes/checkout/weights", ["PUT"]],
  ["/v1/routes/", []],
  ["/v1/routes/checkout/weight", []],
  ["/v1", []],
  ["", []],
])("%s takes %j", (url, methods) => {
  expect(paths.methodsOf(url)).toEqual(methods);
});
