// colors.js: one colour an outcome on every page, good on light and dark ground and told apart by people who see few colours
export const outcomes = ["delivered", "recorded", "cancelled", "suppressed", "expired", "dead", "held", "late_cancel"];
const of = {
  delivered: "#2a9d8f",
  recorded: "#6c8ebf",
  cancelled: "#e9b44c",
  suppressed: "#b39bc8",
  expired: "#a0a7b4",
  dead: "#d1495b",
  held: "#8fb8de",
  late_cancel: "#c98b5e",
};
export const outcomeScale = (present) => {
  const domain = outcomes.filter((o) => present.has(o));
  return {domain, range: domain.map((o) => of[o])};
};
export const series = ["#4f5bd5", "#2a9d8f", "#e9b44c", "#d1495b", "#6c8ebf", "#b39bc8", "#c98b5e", "#a0a7b4"];
export const accent = "#4f5bd5";
