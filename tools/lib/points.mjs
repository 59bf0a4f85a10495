/** Points of that name; else those below it ("foundation" takes "foundation.1"); "all" takes every one. */
export function selectPoints(points, wanted) {
  if (wanted === "all") return points;
  const exact = points.filter((point) => point.name === wanted);
  return exact.length > 0 ? exact : points.filter((point) => point.name.startsWith(`${wanted}.`));
}
